#!/usr/bin/env bash
# Memory that a guest does not use returns to the host (--balloon on): by free-page reporting after
# 200 MiB were used and freed, and by the balloon on command (QMP: balloon, query-balloon), from which it
# comes back. What the machine has of the host's memory is counted in its memory file. Prints TAP.
set -u
cd "$(dirname "$0")/../.."
penta=${PENTA:-$PWD/penta}
t=$(mktemp -d) name=balloon$$
export PENTA_HOME=$t/home
trap '"$penta" stop --force $name >/dev/null 2>&1; rm -rf "$t"' EXIT
n=0 bad=0
check() { n=$((n + 1)); if eval "$2"; then echo "ok $n - $1"; else bad=1; echo "not ok $n - $1"; tail -12 "$t/out" "$t/err" | sed 's/^/  /'; fi; }
skip() { echo "1..1"; echo "ok 1 - balloon # SKIP $1"; exit 0; }
: > "$t/out"; : > "$t/err"

kernel=$(tools/guest-kernel "${KERNEL:-cloud}" 2>"$t/err") || skip "$(tail -1 "$t/err")"
# shellcheck disable=SC2046
tools/mkinitramfs "$t/initrd" tests/guests/balloon-init \
	$(tools/guest-modules "${KERNEL:-cloud}" virtio_pci virtio_balloon) || skip "no initramfs"
"$penta" create $name --kernel "$kernel" --initrd "$t/initrd" --append "console=ttyS0 quiet" --memory 512M \
	--balloon on --serial "unix:$t/serial" >"$t/err" 2>&1 && "$penta" start $name >"$t/err" 2>&1 ||
	{ echo "1..1"; echo "not ok 1 - a machine with a balloon starts"; cat "$t/err"; exit 1; }
dir=$t/home/machines/$name
timeout 150 python3 - "$dir" "$t/serial" "$penta" <<'PY'
import json, os, subprocess, socket, sys, time, re
folder, serial, penta = sys.argv[1:]
n = bad = 0
def ok(good, what):
    global n, bad
    n += 1
    bad |= not good
    print(("ok" if good else "not ok"), n, "-", what, flush=True)
s = socket.socket(socket.AF_UNIX); s.connect(serial); s.settimeout(0.2)
text = ""
def read():
    global text
    try:
        text += s.recv(65536).decode(errors="replace")
    except TimeoutError:
        pass
def wait(word, secs=40, start=0):
    end = time.time() + secs
    while time.time() < end and not re.search(word, text[start:]):
        read()
    return bool(re.search(word, text[start:]))
q = socket.socket(socket.AF_UNIX); q.connect(folder + "/control.sock")
f = q.makefile("rw")
events = []
def line():
    return json.loads(f.readline())
def cmd(name, **args):
    f.write(json.dumps({"execute": name, "arguments": args}) + "\n"); f.flush()
    while True:
        r = line()
        if "event" in r:
            events.append(r); continue
        return r.get("return", r)
line(); cmd("qmp_capabilities")
# The process that runs the machine: the one with the memory file.
def memory():
    best = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            cl = open(f"/proc/{pid}/cmdline").read()
            if "penta" not in cl: continue
            for fd in os.listdir(f"/proc/{pid}/fd"):
                p = f"/proc/{pid}/fd/{fd}"
                if "penta-ram" in os.readlink(p) and os.stat(folder).st_ino and (pid == PID or not PID):
                    best = max(best, os.stat(p).st_blocks // 2)
        except OSError:
            pass
    return best // 1024     # MiB
PID = str(cmd("query-status").get("pid", "")) or ""
ok(wait("PENTA-UP"), "the guest is up")
ok(wait("PENTA-FULL"), "it uses 200 MiB")
full = memory()
ok(wait("PENTA-FREE"), "and lets them go")
low = full
for _ in range(300):
    read(); low = min(low, memory())
    if low < full - 100: break
    time.sleep(0.2)
ok(low < full - 100, f"the host has them back: {full} MiB, then {low} MiB")
b = cmd("query-balloon")
ok(b.get("actual") == 512 << 20, f"query-balloon: all of it is the guest's: {b}")
name = os.path.basename(folder)
def cli(*words):
    p = subprocess.run([penta, *words], capture_output=True, text=True)
    return p.returncode, p.stdout + p.stderr
r = cli("set", name, "--memory-target", "200M")
ok(r == (0, ""), f"set --memory-target 200M: {r}")
for _ in range(100):
    read()
    b = cmd("query-balloon")
    if b.get("actual") == 200 << 20: break
    time.sleep(0.1)
ok(b.get("actual") == 200 << 20, f"the guest has 200 MiB left: {b}")
r = cli("show", name)
ok(re.search("^memory now +200 MiB$", r[1], re.M) and re.search("^memory +512M$", r[1], re.M), "show tells it")
at = len(text)
wait("PENTA-MEM", 5, at); wait("PENTA-MEM", 5, at + 20)
m = re.findall(r"PENTA-MEM (\d+) (\d+)", text)[-1]
ok(int(m[0]) < 190 * 1024 or int(m[1]) < 180 * 1024, f"the guest sees it: {m} KiB")
cmd("balloon", value=512 << 20)
for _ in range(100):
    read()
    b = cmd("query-balloon")
    if b.get("actual") == 512 << 20: break
    time.sleep(0.1)
ok(b.get("actual") == 512 << 20, f"and all of it again: {b}")
ok("error" in cmd("balloon", value=1), "a balloon of nearly all is refused")
s.sendall(b"use\n")
import hashlib
want = hashlib.md5(bytes(100 << 20)).hexdigest()
ok(wait("PENTA-USED [0-9a-f]{32}", 40) and want in text, "100 MiB are used anew, and hold what was written")
s.sendall(b"end\n")
wait("reboot: Power down|PENTA-DMESG", 10)
ok("oom" not in text.lower() and "BUG:" not in text, "the guest has nothing to complain about")
print(f"1..{n}")
if bad: print("\n".join("  " + l for l in text.splitlines()[-15:]))
sys.exit(bad)
PY
