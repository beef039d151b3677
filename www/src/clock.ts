// clock.ts tells the server's time by the visitor's clock, which may be wrong, and
// how old an answer is.

/** Clock is the server's. Answers say its time in their headers; those of another
 * origin may not show them, and then the visitor's clock is all there is. */
export class Clock {
  known = false // whether any answer said the time
  private offset = 0 // ms to add to the visitor's clock

  /** heard takes an answer's headers, and when it came, in ms. */
  heard(headers: { get(name: string): string | null }, at: number) {
    const date = Date.parse(headers.get('Date') ?? '')
    if (!date) return
    const late = date + Number(headers.get('Age') ?? 0) * 1000 - at
    this.known = true
    this.offset = Math.abs(late) > 20_000 ? late : 0
  }

  /** now is the server's time, in ms, when the visitor's clock shows at. */
  now(at: number): number {
    return at + this.offset
  }
}

/** Progress tells how old statistics are. Where the server's time is not known,
 * it is since when the visitor has seen no newer ones, whatever his clock shows. */
export class Progress {
  private made = 0
  private seen = 0

  /** age of statistics that were made at made by the server's clock, in ms. */
  age(made: number, clock: Clock, at: number): number {
    if (made !== this.made) {
      this.made = made
      this.seen = at
    }
    return clock.known ? clock.now(at) - made : at - this.seen
  }
}
