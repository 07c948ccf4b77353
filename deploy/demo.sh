#!/usr/bin/env bash
# The main job, seen once: Stoker is started, a function deployed and invoked, twice, and what happened where is shown.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"

show() { printf '\n$ %s\n' "$*"; "$@"; }

show stoker up
show stoker deploy hello examples/hello
show stoker invoke hello --data '{"name": "world"}'
printf '\nAgain, with what happened where:\n'
show stoker invoke hello --data '{"name": "world"}' --output json
show stoker status

cat <<'TEXT'

Stoker goes on running. What to type next (`source .venv/bin/activate` puts `stoker` on your path):

    stoker invoke hello --data '{"name": "you"}'     # warm now
    stoker logs hello                                # what the function printed
    stoker init mine && stoker deploy mine mine      # a function of your own
    make down                                        # stops it all
TEXT
