#!/bin/bash
# Tests the test equipment: the mock and the load client against each other, and both against
# curl. Usage: tools_test.sh BUILDDIR (holds tests/tools/mockfaas and load, or them directly)
set -u
build=${1:?usage: tools_test.sh BUILDDIR}
[ -x "$build/tests/tools/mockfaas" ] && build=$build/tests/tools
passed=0 failed=0 mock_pid=
work=$(mktemp -d)
trap 'stop; rm -rf "$work"' EXIT

start() { # MOCK OPTIONS
	: >"$work/port" # here, not in the child: the last mock's port must not be read again
	"$build/mockfaas" -k "$@" >>"$work/port" &
	mock_pid=$!
	until read -r _ port <"$work/port"; do sleep 0.01; done
	url=http://127.0.0.1:$port
}

stop() {
	[ -n "$mock_pid" ] && kill "$mock_pid" && wait "$mock_pid"
	mock_pid=
} 2>/dev/null

same() { # NAME GOT WANT
	if [ "$2" = "$3" ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'FAILED %s: got: %.300s\n  wanted: %.300s\n' "$1" "$2" "$3"
	fi
}

load() { # ARGUMENTS: status and error counts, on one line
	"$build/load" "$@" | awk '/^(status|error)/{printf "%s%s %s", sep, $2, $3; sep = " "}
		NF == 0 {exit}'
}

stat() { # KEY: a number of /_mock/stats at the top level
	curl -s "$url/_mock/stats" | grep -o "\"$1\": [0-9]*" | head -1 | cut -d' ' -f2
}

raw() { # BYTES(printf format): all that comes back
	exec 3<>"/dev/tcp/127.0.0.1/$port"
	# shellcheck disable=SC2059
	printf "$1" >&3
	timeout 5 cat <&3
	exec 3>&-
}

first() { # BYTES: the status of the answer
	raw "$1" | head -1 | cut -d' ' -f2
}

start -r
same 'plain answer' "$(curl -s "$url/function/a")" ok
same 'status, size' "$(curl -s -w ' %{http_code}' "$url/function/a?status=503&size=5")" 'abcde 503'
same 'chunked' "$(curl -s "$url/function/a?chunked=1&size=27")" abcdefghijklmnopqrstuvwxyza
same 'HEAD' "$(curl -sI "$url/function/a?size=7" | grep -ci 'content-length: 7')" 1
same '204 has no body' "$(load -u "$url/function/a?status=204&size=9" -n 3)" '204: 3'
same 'echo' "$(curl -s -d hello "$url/function/a?echo=1")" hello
same 'echo tells the path' "$(curl -si "$url/function/a/%2f..?x=%20&echo=1" | tr -d '\r' |
	grep -E '^X-Echo-(Path|Query)')" 'X-Echo-Path: /function/a/%2f..
X-Echo-Query: x=%20&echo=1'
same 'hdr' "$(curl -si "$url/function/a?hdr=X-A:%20b%2c" | tr -d '\r' | grep X-A)" 'X-A: b,'
same 'echo of 1 MB, both framings' \
	"$(load -v -b 1000000 -n 8 -c 2 -u "$url/function/a?echo=1&chunked={0|1}")" '200: 8'
same 'echo of a chunked request' \
	"$(load -v -C -b 100000 -n 8 -c 2 -u "$url/function/a?echo=1")" '200: 8'
same 'large answers whole' "$(load -v -n 4 -c 2 -u "$url/function/a?huge=5&chunked={0|1}")" '200: 4'
same 'dribble' "$(load -v -n 2 -u "$url/function/a?size=20&dribble=1&chunked={0|1}")" '200: 2'
same 'mismatch is seen' "$(load -v -n 2 -u "$url/function/a")" 'mismatch: 2'

while read -r fault want; do
	same "fault=$fault" "$(load -n 2 -w 150 -u "$url/function/f?fault=$fault")" "$want"
done <<-END
	reset reset: 2
	close closed: 2
	half truncated: 2
	resethalf reset: 2
	hang timeout: 2
	hanghalf timeout: 2
	stale 200: 1 stale: 1
	stalenext 200: 1 stale: 1
	slow100&every=1 200: 2
	half&chunked=1 truncated: 2
END
while IFS=$'\t' read -r number verdict name; do
	got=$("$build/load" -n 1 -u "$url/function/g?garbage=$number" >/dev/null && echo ok || echo bad)
	case $name in # valid on the wire, but the load client is stricter than it must be
	'two Content-Lengths, the same'* | 'an answer and bytes'*) verdict=bad ;;
	esac
	same "garbage=$number ($name)" "$got" "$verdict"
done < <(curl -s "$url/_mock/garbage")
same 'nothing is left in flight' "$(curl -s "$url/_mock/wait?inflight=0&timeout=3000")" reached

curl -s -XPOST "$url/_mock/reset" >"$work/null"
H='Host: x\r\n'
while IFS=$'\t' read -r name bytes; do
	same "refused: $name" "$(first "$bytes")" 400
done <<-END
	CL and TE	POST /function/a HTTP/1.1\r\n${H}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n
	two CLs	POST /function/a HTTP/1.1\r\n${H}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc
	obs-fold	GET /function/a HTTP/1.1\r\n${H}A: b\r\n c\r\n\r\n
	space before colon	GET /function/a HTTP/1.1\r\n${H}A : b\r\n\r\n
	NUL	GET /function/a HTTP/1.1\r\n${H}A: b\0\r\n\r\n
	TE in 1.0	POST /function/a HTTP/1.0\r\n${H}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n
	bad chunk	POST /function/a HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\nx\r\n
	space in target	GET /function/a b HTTP/1.1\r\n${H}\r\n
END
same 'bad is counted' "$(stat bad)" 8
same 'bad heads are kept' "$(curl -s "$url/_mock/seen?id=POST")" '{"seen": 4}'
raw 'GET /function/a?id=1 HTTP/1.1\r\n\r\nGET /function/a?id=2 HTTP/1.1\r\nConnection: close\r\n\r\n' \
	>"$work/null"
same 'two pipelined requests are two heads' "$(curl -s "$url/_mock/seen?id=/a?id=")" '{"seen": 2}'
exec 3<>"/dev/tcp/127.0.0.1/$port"
printf 'smuggled' >&3
exec 3>&-
until [ "$(stat partial)" = 1 ]; do sleep 0.01; done
same 'bytes that are no head are kept' "$(curl -s "$url/_mock/seen?id=smuggled")" '{"seen": 1}'

for i in 1 2 3; do
	curl -s "$url/function/held?hold=$((i % 2 + 1))&id=$i" >"$work/held$i" &
	curl -s "$url/_mock/wait?held=$i" >"$work/null"
done
same 'held calls are in flight' "$(stat inflight)" 3
same 'release by key' "$(curl -s -XPOST "$url/_mock/release?key=2&n=1")" 1
same 'the oldest of that key ended' "$(curl -s "$url/_mock/wait?held=2" && curl -s "$url/_mock/log" |
	awk -F, '$5 == "-" && $3 == "held" {print $4}')" 'reached
1'
same 'release all' "$(curl -s -XPOST "$url/_mock/release")" 2
same 'and all end' "$(curl -s "$url/_mock/wait?inflight=0")" reached
stop

for threads in 1 4; do
	start -t $threads -l 50
	got=$(load -c 80 -n 4000 -u "$url/function/f{i%3}?delay=5&jitter=4&t=t{i%7}" |
		tr ' ' '\n' | awk '/^[0-9]+$/{n += $1} END {print n}')
	same "$threads threads: every call is answered" "$got" 4000
	same "$threads threads: the limit holds" "$(stat peak)" 50
	total=$(stat total)
	same "$threads threads: admitted + rejected" "$((total + $(stat rejected)))" 4000
	same "$threads threads: the log agrees with the counts" "$(curl -s "$url/_mock/log" | awk -F, '
		NR == 1 {next}
		$5 == "+" {n++; total++}
		$5 == "-" {n--}
		n != $2 {wrong++}
		n > peak {peak = n}
		$1 < last {wrong++}
		{last = $1}
		END {print total, peak, wrong + 0, n}')" "$total 50 0 0"
	stop
done

start -f a,b
same 'known' "$(load -u "$url/function/b/x")" '200: 1'
same 'unknown' "$(load -u "$url/function/c")" '404: 1'
load -c 10 -n 400 -u "$url/function/a?delay=10" >"$work/null"
same 'mean in use' "$(curl -s "$url/_mock/mean?limit=10" | grep -oE '"(full|share)": (true|0\.[89]|1\.0)' |
	tr '\n' ' ')" '"full": true "share": 0.9 '
"$build/load" -r 500 -n 250 -c 5 -j -u "$url/function/a" >"$work/json"
same 'open loop keeps its rate' "$(sed -n 's/.*"rate": \([0-9]*\).*/\1/p' "$work/json" |
	awk '{print ($1 > 480 && $1 < 520)}')" 1
same 'refused connections' "$(load -n 3 -u http://127.0.0.1:1/)" 'connect: 3'
stop

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
