#!/bin/sh
# install.sh PACKAGE...: installs Debian packages whose program is missing, where
# it may; else says in one line what to install. A package that brings a server
# does not start it: tests start their own.
set -eu

program() { # the command a package brings
	case $1 in
	libc6-dev) echo gcc ;;
	*) echo "$1" ;;
	esac
}

missing=
for package in "$@"; do
	command -v "$(program "$package")" >/dev/null 2>&1 || missing="$missing $package"
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

# Debian starts a server on install unless a policy says no.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
	$sudo chmod 755 "$policy"
	trap '$sudo rm -f "$policy"' EXIT
fi
echo "installing:$missing"
log=$(mktemp)
if ! { $sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1; then
	tail -n 5 "$log" >&2
	rm -f "$log"
	echo "could not install:$missing; please run: apt-get install$missing" >&2
	exit 1
fi
rm -f "$log"
