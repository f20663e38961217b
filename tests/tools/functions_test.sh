#!/bin/bash
# Runs each shipped function directly on known bodies. Usage: functions_test.sh [FUNCTIONS_DIR]
set -u
dir=${1:-$(dirname "$0")/../../functions}
passed=0 failed=0
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT

# expect NAME FUNCTION BODY(printf format) EXIT OUTPUT [VARIABLE=VALUE]...
expect() {
	local name=$1 function=$2 body=$3 code=$4 want=$5 got_code
	shift 5
	# shellcheck disable=SC2059
	printf "$body" >"$work/body"
	env -i PATH=/usr/bin:/bin "$@" "$dir/$function" <"$work/body" >"$work/out" 2>"$work/err"
	got_code=$?
	printf '%b' "$want" >"$work/want"
	if [ $got_code -eq "$code" ] && cmp -s "$work/out" "$work/want"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED $function: $name: exit $got_code, not $code; got:"
		head -c 300 "$work/out" "$work/err"
	fi
}

repeat() { # TEXT COUNT
	printf '%*s' "$2" '' | sed "s/ /$1/g"
}

image() { # FORMAT WIDTH HEIGHT
	printf '{"format": "%s", "width": %d, "height": %d}\\n' "$@"
}

PNG='\x89PNG\r\n\x1a\n\0\0\0\rIHDR'
EXIF='\xff\xe1\0\x10Exif\0\0\xff\xc0\xff\xd8\0\1\0\1'	# an APP1 that contains a false frame marker
BIG="\xff\xe2\x13\x8a$(repeat '\\xff' 5000)"		# an ICC profile longer than od's line
SOF0='\xff\xc0\0\x11\x08\x0b\xd0\x0f\xc0\3\1\x22\0'	# 4032 x 3024

#	what			function body	exit	output
expect 'nothing'		hash '' 0 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n'
expect 'abc (FIPS 180-4)'	hash 'abc' 0 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n'
expect 'NUL and high bytes'	hash '\0\xff\n' 0 "$(printf '\0\xff\n' | sha256sum | cut -d' ' -f1)\n"
expect 'nothing'		words '' 0 '{"lines": 0, "words": 0, "bytes": 0}\n'
expect 'two lines'		words 'one two\nthree\n' 0 '{"lines": 2, "words": 3, "bytes": 14}\n'
expect 'no newline at the end'	words ' a  b' 0 '{"lines": 0, "words": 2, "bytes": 5}\n'
expect '100,000 words'		words "$(repeat 'w\\n' 100000)" 0 '{"lines": 100000, "words": 100000, "bytes": 200000}\n'
expect 'letters'		upper 'Hello, World 1\n' 0 'HELLO, WORLD 1\n'
expect 'nothing'		upper '' 0 ''
expect 'UTF-8 untouched'	upper 'a\xc3\xa9z' 0 'A\xc3\xa9Z'
expect 'NUL untouched'		upper 'a\0b' 0 'A\0B'
expect 'variables, sorted'	env '' 0 'Http_Method=POST\nHttp_Path=/a b\nPATH=/usr/bin:/bin\n' \
				'Http_Path=/a b' Http_Method=POST
expect 'the body is not read'	env 'body' 0 'PATH=/usr/bin:/bin\n'
expect 'PNG'			size "$PNG"'\0\0\2\x80\0\0\1\xe0\x08\2\0\0\0' 0 "$(image png 640 480)"
expect 'PNG, 100,000 wide'	size "$PNG"'\0\1\x86\xa0\0\0\0\1' 0 "$(image png 100000 1)"
expect 'PNG, cut short'		size "$PNG"'\0\0\2\x80\0' 1 ''
expect 'PNG, CgBI before IHDR'	size '\x89PNG\r\n\x1a\n\0\0\0\4CgBI' 1 ''
expect 'PNG, no area'		size "$PNG"'\0\0\0\0\0\0\1\xe0' 1 ''
expect 'GIF87a'			size 'GIF87a\x40\1\xf0\0\x80\0\0' 0 "$(image gif 320 240)"
expect 'GIF89a, 65535 x 1'	size 'GIF89a\xff\xff\1\0\x80\0\0' 0 "$(image gif 65535 1)"
expect 'GIF of another version'	size 'GIF88a\x40\1\xf0\0\x80\0\0' 1 ''
expect 'JPEG, frame at once'	size '\xff\xd8'"$SOF0" 0 "$(image jpeg 4032 3024)"
expect 'JPEG, EXIF and DHT'	size '\xff\xd8'"$EXIF"'\xff\xc4\0\4ab'"$SOF0" 0 "$(image jpeg 4032 3024)"
expect 'JPEG, a long segment'	size '\xff\xd8'"$BIG$SOF0" 0 "$(image jpeg 4032 3024)"
expect 'JPEG, fill, progressive' size '\xff\xd8\xff\xff\xff\xc2\0\x0b\x08\0\x10\0\x20\1' 0 "$(image jpeg 32 16)"
expect 'JPEG, scan before frame' size '\xff\xd8\xff\xda\0\4ab' 1 ''
expect 'JPEG, cut short'	size '\xff\xd8\xff\xe0\0\x10JFIF' 1 ''
expect 'text'			size 'hello, world' 1 ''
expect 'nothing'		size '' 1 ''

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
