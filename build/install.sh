#!/bin/sh
# install.sh PACKAGE...: installs Debian packages whose program is missing, where
# it may; else says in one line what to install. A package that brings a server
# does not start it: tests start their own.
set -eu

installed() { # whether what the package is wanted for is there
	case $1 in
	libc6-dev) [ -e /usr/include/stdlib.h ] ;;
	*) command -v "$1" >/dev/null 2>&1 ;;
	esac
}

missing=
for package in "$@"; do
	installed "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

sudo=
if [ "$(id -u)" -ne 0 ]; then
	if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
		sudo=sudo
	else
		echo "missing:$missing; please run: apt-get install$missing" >&2
		exit 1
	fi
fi
if ! command -v apt-get >/dev/null 2>&1; then
	echo "missing:$missing; please install with your system's package manager" >&2
	exit 1
fi

log=$(mktemp)
made= # the policy, if it is ours
cleanup() {
	rm -f "$log"
	[ -z "$made" ] || $sudo rm -f "$made"
}
trap cleanup EXIT
trap 'exit 130' HUP INT TERM # dash runs the trap on EXIT only when the script exits

# Debian starts a server on install unless a policy says no.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	made=$policy
	printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
	$sudo chmod 755 "$policy"
fi
echo "installing:$missing"
if ! { $sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1; then
	tail -n 5 "$log" >&2
	echo "could not install:$missing; please run: apt-get install$missing" >&2
	exit 1
fi
