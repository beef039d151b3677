#!/bin/sh
# build.sh makes dist/, which the binary embeds; "build.sh test" checks the types
# and runs the unit tests; "build.sh https://pool.example.org [FOLDER]" makes the
# pages for another web server, which then ask the API there. Where there is no Node and none may be installed, or no
# package registry is in reach, it says so in one line and leaves dist/ as it is:
# the pool is built without the pages then.
set -eu
case ${2-} in '' | /*) to=${2-} ;; *) to=$PWD/$2 ;; esac
cd "$(dirname "$0")"

without() {
	if [ "${1-}" = test ]; then
		echo "www: $why; the pages cannot be tested" >&2
		exit 1
	elif [ -n "${1-}" ]; then
		echo "www: $why; the pages cannot be built for $1" >&2
		exit 1
	elif [ -e dist/index.html ]; then
		echo "www: $why; the binary gets the pages that were built before" >&2
	else
		echo "www: $why; the binary is built without the pages" >&2
	fi
	exit 0
}

ready() { # whether Node is there, and new enough for esbuild
	command -v npm >/dev/null 2>&1 && node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' 2>/dev/null
}

if ! ready; then
	why='Node 18 or newer and npm are missing'
	../build/install.sh nodejs npm 2>/dev/null || without "$@"
	ready || without "$@"
fi
# What npm last installed is as new as what the lock file asks for?
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
	why='npm could not fetch what the pages are built with'
	npm ci --silent --no-progress || without "$@"
fi
if [ "${1-}" = test ]; then
	node_modules/.bin/tsc --noEmit
	exec node build.mjs test
fi
if [ -n "${1-}" ]; then
	: "${to:=$PWD/../build/out/pages}"
	node build.mjs "$1" "$to"
	echo "the pages that ask $1 are in $to"
	exit 0
fi
exec node build.mjs
