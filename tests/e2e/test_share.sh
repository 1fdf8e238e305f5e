#!/usr/bin/env bash
# A shared folder in a guest with a stock kernel: POSIX checks (tests/guests/fscheck.c) for each way in
# which owners are kept, on the cloud kernel (FUSE and virtiofs are modules) and, one of them, on
# trixie's (built in); what the host changes; ways out of the folder; read-only. Prints TAP.
set -u
cd "$(dirname "$0")/../.."
penta=${PENTA:-$PWD/penta}
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
chmod 755 "$t"
n=0 bad=0
pass() { n=$((n + 1)); echo "ok $n - $1"; }
fail() { n=$((n + 1)); bad=1; echo "not ok $n - $1"; }
finish() { echo "1..$n"; exit $bad; }

${CC:-gcc} -O1 -D_GNU_SOURCE -static -pthread -o "$t/fscheck" tests/guests/fscheck.c 2>"$t/err" ||
	{ echo "1..1"; echo "ok 1 - shared folder # SKIP no static program: $(tail -1 "$t/err")"; exit 0; }
image() { # kernel
	kernel=$(tools/guest-kernel "$1" 2>"$t/err") || return 1
	# shellcheck disable=SC2046
	tools/mkinitramfs "$t/initrd-$1" tests/guests/share-init "$t/fscheck=fscheck" $(tools/guest-modules "$1" virtio_pci virtiofs) 2>"$t/err"
}
guest() { # kernel share-options append [option...]
	local k=$1 s=$2 a=$3; shift 3
	timeout 120 "$penta" run --kernel "$(tools/guest-kernel "$k")" --initrd "$t/initrd-$k" --memory 256M \
		--append "console=ttyS0 quiet $a" --share "$t/f$s" "$@" </dev/null >"$t/out" 2>"$t/err"
	rc=$?
	tr -d '\r' < "$t/out" > "$t/txt"
}
fresh() { rm -rf "$t/f"; mkdir -m 777 "$t/f"; }

check() { # kernel mode options...
	local k=$1 mode=$2 what="$1 kernel, POSIX checks, owners: $2" plan good
	shift 2
	image "$k" || { n=$((n + 1)); echo "ok $n - $what # SKIP $(tail -1 "$t/err")"; return; }
	fresh
	guest "$k" "$([ "$mode" = mapped ] && echo ,mapped)" "do=check mode=$mode many=${MANY:-1000}" "$@"
	plan=$(sed -n 's/^1\.\.//p' "$t/txt"); good=$(grep -c '^ok ' "$t/txt")
	if [ $rc -eq 0 ] && grep -q '^PENTA-STATUS 0' "$t/txt" && [ "${plan:-0}" -gt 150 ] && [ "$plan" = "$good" ]; then
		pass "$what ($good of them)"
	else
		fail "$what (exit status $rc, $good of ${plan:-?})"
		grep -A1 '^not ok' "$t/txt" | sed 's/^/  /'; tail -5 "$t/txt" "$t/err" | sed 's/^/  /'
	fi
	if find "$t/f" \( -type f -perm /6000 -o -type b -o -type c \) | grep -q .; then
		fail "$k, $mode: no set-id bit and no device node on the host"
		find "$t/f" -perm /6000 -ls
	else
		pass "$k, $mode: no set-id bit and no device node on the host"
	fi
}
if [ "$(id -u)" -eq 0 ]; then check cloud real --sandbox off
else n=$((n + 1)); echo "ok $n - owners: real # SKIP needs root"; fi
check cloud mapped
check cloud user --cpus 2
check trixie user

what="what the host changes is seen; nothing outside the folder is"
if image cloud; then
	fresh
	echo before > "$t/f/word"; echo secret > "$t/secret"; mkdir "$t/f/d"
	ln -s ../secret "$t/f/out"; ln -s "$t" "$t/f/outdir"
	( for _ in $(seq 300); do [ -e "$t/f/ready" ] && break; sleep 0.1; done
	  echo after > "$t/f/word.new"; mv "$t/f/word.new" "$t/f/word"; echo later > "$t/f/later" ) &
	guest cloud "" "do=hosts"; wait
	if [ $rc -eq 0 ] && grep -q '^before' "$t/txt" && grep -q '^after' "$t/txt" && grep -q '^later' "$t/txt" &&
	   grep -q PENTA-STATUS "$t/txt" && ! grep -qE 'ESCAPED|MOUNT-FAILED|^secret' "$t/txt"; then pass "$what"
	else fail "$what"; tail -15 "$t/txt" "$t/err" | sed 's/^/  /'; fi

	what="read-only: nothing can be changed"
	fresh; echo word > "$t/f/word"; chmod 666 "$t/f/word"
	guest cloud ,ro "do=ro"
	if [ $rc -eq 0 ] && grep -q '^word' "$t/txt" && grep -q PENTA-STATUS "$t/txt" && ! grep -q PENTA-WRITABLE "$t/txt" &&
	   [ "$(ls "$t/f")" = word ] && [ "$(cat "$t/f/word")" = word ]; then pass "$what"
	else fail "$what"; tail -15 "$t/txt" "$t/err" | sed 's/^/  /'; fi
else
	n=$((n + 1)); echo "ok $n - $what # SKIP $(tail -1 "$t/err")"
fi
finish
