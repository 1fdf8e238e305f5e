#!/usr/bin/env bash
# Debian as a guest, as an unprivileged user: its image from packages, a command that starts it and ends
# it, systemd, network, apt from a folder of the host, real programs, the clock after a pause, a clean
# shutdown. The image is built once and kept in the cache. Prints TAP.
# DEBIAN_FULL=1: also the terminal, a reboot into what the guest installed, larger workloads.
set -u
cd "$(dirname "$0")/../.."
top=$PWD full=${DEBIAN_FULL:-}
t=$(mktemp -d) && chmod 755 "$t"
n=0 bad=0
ok() { n=$((n + 1)); if [ "$1" = 0 ]; then echo "ok $n - $2"; else bad=1; echo "not ok $n - $2"; [ -z "${3:-}" ] || tail -25 "$3" | cut -c1-200 | sed 's/^/  /'; fi; }
skip() { n=$((n + 1)); echo "ok $n - $1 # SKIP $2"; }

# Who does it: nobody, with a home of its own; when we are not root, we.
export HOME=$t/home PENTA_HOME=$t/penta; cache=${XDG_CACHE_HOME:-${OLDHOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}/.cache}/penta/guests
mkdir -p "$HOME" "$PENTA_HOME/images" "$cache"
cp "${PENTA:-$top/penta}" "$t/p"; chmod 755 "$t/p"; penta=$t/p
as=()
if [ "$(id -u)" = 0 ]; then
	chown -R nobody "$HOME" "$PENTA_HOME"
	as=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
fi
pt() { (cd "$t" && exec "${as[@]}" "$penta" "$@"); }
end() {
	pt stop --force debian >/dev/null 2>&1
	rm -rf "$t"
}
trap end EXIT

for c in mmdebstrap fakechroot fakeroot mke2fs dpkg-deb; do
	command -v $c >/dev/null || [ -x /usr/sbin/$c ] || missing+=" $c"
done
[ -z "${missing:-}" ] || { skip "Debian as a guest" "needs$missing"; echo "1..$n"; exit 0; }

# --- the image ---
include=gcc,libc6-dev,make,python3,sqlite3,fio,iperf3
key=$(cat src/manage/image/debian.sh guest/agent.c src/manage/agent/proto.h <(echo $include) | sha256sum | cut -c1-16)
img=$cache/debian-$key.img
s=$SECONDS
if [ ! -e "$img" ]; then
	pt image build debian --size 4G --include $include built >"$t/out" 2>"$t/err"; rc=$?
	if [ $rc != 0 ] && grep -qE 'mirror|is not there' "$t/err"; then
		skip "Debian as a guest" "$(head -1 "$t/err" | cut -c1-150)"; echo "1..$n"; exit 0
	fi
	[ $rc = 0 ] && [ "$(cat "$t/out")" = "$PENTA_HOME/images/built.img" ] &&
		[ "$(ls -A "$PENTA_HOME/images")" = built.img ]
	ok $? "penta image build debian, without root ($((SECONDS - s)) s)" "$t/err"
	[ $rc = 0 ] || { echo "1..$n"; exit 1; }
	rm -f "$cache"/debian-*.img
	cp --sparse=always "$PENTA_HOME/images/built.img" "$img.tmp" && mv "$img.tmp" "$img"
	mv "$PENTA_HOME/images/built.img" "$PENTA_HOME/images/debian.img"
else
	cp --sparse=always "$img" "$PENTA_HOME/images/debian.img"
	skip "penta image build debian" "cached: ${img##*/}"
fi
chmod 644 "$PENTA_HOME/images/debian.img"; [ ${#as[@]} = 0 ] || chown nobody "$PENTA_HOME/images/debian.img"

# What cannot be built says so, and leaves nothing.
pt image build debian --mirror http://127.0.0.1:9/debian broken >"$t/out" 2>"$t/err"
[ $? = 1 ] && grep -q '127.0.0.1:9' "$t/err" && [ "$(ls -A "$PENTA_HOME/images")" = debian.img ]
ok $? "no network: the error names the mirror, nothing is left" "$t/err"
if [ -n "$full" ]; then
	pt image build debian stopped >"$t/out" 2>"$t/err" & p=$!
	sleep 12; pkill -INT -P $p -f image 2>/dev/null || kill -INT $p; wait $p
	[ "$(ls -A "$PENTA_HOME/images")" = debian.img ]; ok $? "Ctrl-C: nothing is left" "$t/err"
fi

# --- a mirror: one package of our own, in a folder that the guest mounts ---
mkdir -p "$t/mirror" "$t/pkg/DEBIAN" "$t/pkg/usr/bin"
printf 'Package: hello-penta\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: a test\n' > "$t/pkg/DEBIAN/control"
printf '#!/bin/sh\necho hello from a package\n' > "$t/pkg/usr/bin/hello-penta"; chmod 755 "$t/pkg/usr/bin/hello-penta"
dpkg-deb --root-owner-group -b "$t/pkg" "$t/mirror/hello-penta.deb" >/dev/null
(cd "$t/mirror" && cat "$t/pkg/DEBIAN/control" && echo "Filename: ./hello-penta.deb" && echo "Size: $(stat -c %s hello-penta.deb)" &&
	echo "SHA256: $(sha256sum < hello-penta.deb | cut -d' ' -f1)") > "$t/Packages" && mv "$t/Packages" "$t/mirror"

# --- in the guest: one command, with its input, from cold to off ---
cat > "$t/guest" <<-'E'
	say() { if [ "$1" = 0 ]; then echo "GOOD $2"; else echo "BAD $2: $(tail -3 /tmp/err | tr '\n' ' ')"; fi; }
	state=$(systemctl is-system-running --wait); echo "STATE $state $(systemctl --failed --no-legend --plain | cut -d' ' -f1 | tr '\n' ' ')"
	echo "ANALYZE $(systemd-analyze | head -1)"
	[ "$(cat /sys/class/net/*/operstate | grep -c up)" -ge 1 ] && ip -4 -br a | grep -q 10.0.2.15; say $? "network: an address by DHCP"
	grep -q '^nameserver' /etc/resolv.conf 2>/tmp/err; say $? "resolv.conf"
	[ "$(findmnt -no SOURCE /)" = /dev/vda1 ] && [ "$(df --output=size -BM / | tail -1 | tr -dc 0-9)" -gt 3500 ]; say $? "root is a partition that fills the disk"
	[ "$(stat -c '%u:%g %a' /etc/shadow)" = "0:42 640" ] && [ -u /usr/bin/passwd ] && [ "$(stat -c %U:%G /var/mail)" = root:mail ]; say $? "files have their owners"
	[ "$(passwd -S root | cut -d' ' -f2)" != P ]; say $? "root has no password"
	mkdir -p /mnt/mirror && mount -t virtiofs mirror /mnt/mirror 2>/tmp/err; say $? "the host's folder is mounted"
	echo 'deb [trusted=yes] file:/mnt/mirror ./' > /tmp/list
	o="-oDir::Etc::sourcelist=/tmp/list -oDir::Etc::sourceparts=/dev/null -oAPT::Sandbox::User=root"
	{ apt-get $o update && apt-get $o install -y hello-penta; } >/tmp/err 2>&1 && [ "$(hello-penta)" = "hello from a package" ]; say $? "apt install from it"
	cd /tmp && cat > t.c <<-'C'
		#include <math.h>
		#include <pthread.h>
		#include <stdio.h>
		static double part[4];
		static void *run(void *p) { long k = (long)p; for (long i = k; i < 200000; i += 4) part[k] += (i % 2 ? -4.0 : 4.0) / (2 * i + 1); return 0; }
		int main(void) { pthread_t t[4]; double s = 0; for (long i = 0; i < 4; i++) pthread_create(&t[i], 0, run, (void *)i);
			for (int i = 0; i < 4; i++) { pthread_join(t[i], 0); s += part[i]; } printf("%.4f\n", s); return fabs(s - 3.14159) > 1e-4; }
	C
	gcc -O2 -pthread -o t t.c -lm 2>/tmp/err && [ "$(./t)" = 3.1416 ]; say $? "gcc compiles a program that is right"
	[ "$(python3 -c 'import hashlib, json, zlib; d = json.dumps(list(range(20000))).encode(); assert zlib.decompress(zlib.compress(d)) == d; print(hashlib.sha256(d).hexdigest()[:16])' 2>/tmp/err)" = 8bf40514cfc6e959 ]; say $? "python3"
	[ "$(sqlite3 /tmp/db 'pragma journal_mode=wal; create table t(a integer primary key, b); with recursive c(x) as (select 1 union all select x+1 from c where x<20000) insert into t select x, x*x from c; create index i on t(b); pragma integrity_check; select sum(b) from t where a%7=0;' 2>/tmp/err | tr '\n' ' ')" = "wal ok 381095244285 " ]; say $? "sqlite3"
	fio --name=v --filename=/var/tmp/f --size=${FIO:-24M} --rw=randwrite --bs=4k-64k --direct=1 --ioengine=libaio --iodepth=8 --verify=crc32c --do_verify=1 --verify_fatal=1 >/tmp/err 2>&1; say $? "fio verifies what it wrote to the disk"
	rm -f /var/tmp/f
	[ -z "$IPERF" ] || { iperf3 -J -c 10.0.2.2 -p $IPERF -t 3 >/tmp/err 2>&1 && iperf3 -J -R -c 10.0.2.2 -p $IPERF -t 3 >/tmp/err 2>&1; say $? "iperf3 to the host and back"; }
	[ -z "$FULL" ] || echo 'ro console=ttyS0 penta.cmdline=kept' > /etc/kernel/cmdline
	echo READY; while [ ! -e /tmp/go ]; do sleep .3; done
	exit 42
E
sed -i 's/^\t//' "$t/guest"
iperf=
if command -v iperf3 >/dev/null; then iperf=5299; iperf3 -s -B 127.0.0.1 -p $iperf >/dev/null 2>&1 & ip=$!; fi
sed -i "1i IPERF=$iperf FULL=$full ${full:+FIO=256M}" "$t/guest"
s=$SECONDS
(pt run --share "$t/mirror,tag=mirror,ro" debian sh -s < "$t/guest" > "$t/out" 2> "$t/err"; echo $? > "$t/rc") &
for ((i = 0; i < 3000; i++)); do grep -q '^READY' "$t/out" && break; [ ! -e "$t/rc" ] || break; sleep 0.1; done
echo "# from cold to all that in $((SECONDS - s)) s; $(sed -n 's/^ANALYZE //p' "$t/out")"
grep -q '^STATE running' "$t/out"; ok $? "systemctl is-system-running: $(sed -n 's/^STATE //p' "$t/out")" "$t/err"
while read -r word what; do
	case $word in GOOD) ok 0 "$what" ;; BAD) ok 1 "$what" ;; esac
done < "$t/out"
[ -z "$iperf" ] || kill $ip

# --- from outside, meanwhile ---
if grep -q '^READY' "$t/out"; then
	[ "$(pt exec --user nobody --env A=b debian sh -c 'id -un; pwd; echo $A; cat' <<< input 2>"$t/e2")" = $'nobody\n/\nb\ninput' ]
	ok $? "penta exec: user, folder, environment, input" "$t/e2"
	pt exec debian sh -c 'kill -TERM $$' 2>/dev/null; a=$?; pt exec debian no-such-command 2>/dev/null; b=$?
	[ $a = 143 ] && [ $b = 127 ]; ok $? "penta exec: exit statuses ($a, $b)"
	head -c 3000000 /dev/urandom > "$t/data"
	[ "$(pt exec debian cat < "$t/data" 2>/dev/null | cksum)" = "$(cksum < "$t/data")" ]; ok $? "penta exec: 3 MB there and back"
	# The guest's clock is the host's again soon after a pause: read between two of the host's readings.
	pt pause debian 2>>"$t/e2"; sleep 2; pt resume debian 2>>"$t/e2"; sleep 1
	read -r a g b <<< "$(date +%s%N) $(pt exec debian date +%s%N) $(date +%s%N)"
	[ "$g" -ge $((a - 10000000)) ] && [ "$g" -le $((b + 10000000)) ]
	ok $? "the clock is right within 10 ms after a pause (asked at $a, said $g, heard at $b)" "$t/e2"
	if [ -n "$full" ] && command -v script >/dev/null; then
		[ "$(cd "$t" && TERM=xterm script -qec "stty rows 37 cols 91; ${as[*]} $penta exec debian sh -c 'stty size; tty; echo \$TERM'" /dev/null </dev/null | tr -d '\r' | grep -cE '^37 91$|^/dev/pts/|^xterm$')" = 3 ]
		ok $? "penta exec on a terminal: size, name, kind"
	fi
	pt exec debian touch /tmp/go
fi
wait
[ "$(cat "$t/rc")" = 42 ]; ok $? "penta run debian COMMAND: its exit status" "$t/err"
pt ls --json 2>/dev/null | grep -q '"off"'; ok $? "the machine that it started is off again"
d=$PENTA_HOME/machines/debian
grep -aq 'reboot: Power down' "$d/console.log"; ok $? "it shut down by itself"
e2=$(PATH=$PATH:/usr/sbin:/sbin; dumpe2fs -h "$d/disk.img?offset=67108864" 2>/dev/null)
grep -q '^Filesystem state: *clean' <<< "$e2" && ! grep -q needs_recovery <<< "$e2"; ok $? "its file system was unmounted"
if [ -n "$full" ]; then
	[ "$(pt run debian cat /proc/cmdline 2>"$t/err" | grep -c penta.cmdline=kept)" = 1 ]; ok $? "the next boot reads the disk anew" "$t/err"
fi
echo "1..$n"
exit $bad
