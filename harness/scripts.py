"""Constant scripts that the door runs on the host, by POSIX sh; values are their arguments."""

# Ends whatever carries $1 in its environment, also what left the process group: TERM, then KILL.
# With "G" as $2, $1 is a basic regular expression.
SWEEP = """
how=xF; [ $# -lt 2 ] || how=$2
mine() { grep -lsz$how "$1" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3 || true; }
for signal in TERM TERM TERM TERM TERM KILL KILL; do
    pids=$(mine "$1"); [ -n "$pids" ] || exit 0
    kill -s $signal $pids 2>/dev/null || true
    sleep 0.3
done
[ -z "$(mine "$1")" ]
"""

# $1 path, $2 mode, $3 bytes. A connection that breaks looks like the end of the input over there:
# the size tells, and what was there before stays.
REPLACE = """
t=$(mktemp -- "$1.XXXXXX"); trap 'rm -f -- "$t"' EXIT
cat >"$t"; n=$(stat -c %s -- "$t")
[ "$n" = "$3" ] || { echo "only $n of $3 bytes have come" >&2; exit 1; }
chmod -- "$2" "$t"; sync "$t"; mv -fT -- "$t" "$1"
folder=${1%/*}; sync "${folder:-/}"
"""
