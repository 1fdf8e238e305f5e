#!/usr/bin/env bash
# The control socket of a running machine, by a client of its own: the protocol's rules, the common
# commands, events to all clients, descriptors, slow and hostile clients. Prints TAP.
set -u
cd "$(dirname "$0")/../.."
penta=$(realpath "${PENTA:-./penta}")
command -v python3 >/dev/null || { echo "1..1"; echo "ok 1 - control socket # SKIP python3 is not installed"; exit 0; }
t=$(mktemp -d); export PENTA_HOME=$t/home
trap '"$penta" rm -f c >/dev/null 2>&1; rm -rf "$t"' EXIT
head -c 65520 /dev/zero | tr '\0' '\364' > "$t/rom"		# hlt, hlt...
printf '\373\364\353\375%012d' 0 >> "$t/rom"			# sti; hlt; jmp back
"$penta" create c --firmware "$t/rom" --memory 16M && "$penta" start c || { echo "1..1"; echo "not ok 1 - a machine"; exit 1; }
timeout 100 python3 - "$PENTA_HOME/machines/c" <<'P'
import array, json, os, socket, sys, time
os.chdir(sys.argv[1])
n = 0
def ok(good, what):
    global n
    n += 1
    print(("ok" if good else "not ok"), n, "-", what, flush=True)
class Client:
    def __init__(self, negotiate=True):
        self.s = socket.socket(socket.AF_UNIX); self.s.settimeout(20); self.s.connect("control.sock")
        self.buf = b""; self.events = []
        self.greeting = self.line()
        if negotiate: self.do("qmp_capabilities")
    def line(self):
        while b"\n" not in self.buf:
            d = self.s.recv(65536)
            if not d: return None
            self.buf += d
        l, self.buf = self.buf.split(b"\n", 1)
        return json.loads(l)
    def raw(self, b):
        self.s.sendall(b); return self.reply()
    def reply(self):
        while True:
            j = self.line()
            if j is None or "event" not in j: return j
            self.events.append(j)
    def do(self, cmd, **args):
        m = {"execute": cmd}
        if args: m["arguments"] = args
        return self.raw(json.dumps(m).encode())
    def wait(self, name):
        while not any(e["event"] == name for e in self.events):
            j = self.line()
            if j is None: return False
            self.events.append(j)
        self.events = [e for e in self.events if e["event"] != name]
        return True

c = Client(False)
ok("version" in c.greeting["QMP"], "greeting")
ok(c.do("query-status")["error"]["class"] == "CommandNotFound", "nothing before qmp_capabilities")
ok(c.do("qmp_capabilities") == {"return": {}}, "qmp_capabilities")
ok(c.do("qmp_capabilities")["error"]["class"] == "CommandNotFound", "... once")
ok(c.raw(b'{"execute":"query-status","id":{"a":[1]}}') == {"return": {"status": "running", "running": True}, "id": {"a": [1]}}, "query-status; id comes back")
names = [x["name"] for x in c.do("query-commands")["return"]]
plain = [x for x in names if x.startswith("query-") and x not in ("query-balloon",)]
ok(len(plain) > 10 and all("return" in c.do(x) for x in plain), "every query-: %d of them" % len(plain))
ok(c.do("query-cpus-fast")["return"][0]["thread-id"] > 1, "query-cpus-fast knows the thread")
ok(c.do("query-name")["return"]["name"] == "c", "query-name")
ok("no device" in c.do("penta-inspect", path="nosuch")["error"]["desc"], "a human error")
ok(c.do("nosuch")["error"]["class"] == "CommandNotFound", "an unknown command")
ok("missing" in c.do("getfd")["error"]["desc"] and "unexpected" in c.do("stop", x=1)["error"]["desc"] and "type" in c.do("getfd", fdname=3)["error"]["desc"], "arguments are checked")
bad = [b'{"execute":}', b'nonsense\n', b'[1]\n', b'{"execute":"stop","execute":"stop"}', b'{"execute":3}', b'{"exec":"stop"}', b'{"execute":"stop","arguments":[]}', b'{"execute":"\xff\xfe"}']
ok(all("error" in c.raw(b) for b in bad) and c.do("query-status")["return"]["running"], "what is no message is told, and the next one is served")
for b in b'{"execute":"query-version"}': c.s.sendall(bytes([b]))
ok("return" in c.reply(), "byte by byte")
c.s.sendall(b'{"execute":"query-name"}' * 50)
ok(all("return" in c.reply() for _ in range(50)), "fifty at once")

d = Client()
ok(c.do("stop") == {"return": {}} and c.wait("STOP") and d.wait("STOP") and d.do("query-status")["return"]["status"] == "paused", "stop: all clients hear of it")
ok("does not run" in c.do("system_powerdown")["error"]["desc"], "no button for who is paused")
ok(c.do("cont") == {"return": {}} and d.wait("RESUME"), "cont")
ok(c.do("system_reset") == {"return": {}} and d.wait("RESET") and c.wait("RESET"), "system_reset")
ok(c.do("system_powerdown") == {"return": {}} and d.wait("POWERDOWN"), "system_powerdown")
ok(c.do("inject-nmi") == {"return": {}}, "inject-nmi")

r, w = os.pipe()
c.s.sendmsg([b'{"execute":"getfd","arguments":{"fdname":"p"}}'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [w]))])
got = c.reply(); os.close(w)
ok(got == {"return": {}}, "getfd: a descriptor comes with the message")
closed = c.do("closefd", fdname="p"); ok(closed == {"return": {}} and os.read(r, 1) == b"", "closefd closes it")
ok("error" in c.do("closefd", fdname="p") and "no descriptor came" in c.do("getfd", fdname="q")["error"]["desc"], "... and what is not there is told")
def add(cl, **args):
    r, w = os.pipe()
    cl.s.sendmsg([json.dumps({"execute": "add-fd", "arguments": args}).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [w]))])
    got = cl.reply(); os.close(w)
    return r, got
r1, a1 = add(c, opaque="rdwr:x"); r2, a2 = add(d, **{"fdset-id": 7}); r3, a3 = add(c, **{"fdset-id": 7})
sets = {x["fdset-id"]: x["fds"] for x in d.do("query-fdsets")["return"]}
ok(a1["return"]["fdset-id"] == 0 and sets == {0: [{"fd": a1["return"]["fd"], "opaque": "rdwr:x"}], 7: [{"fd": a2["return"]["fd"]}, {"fd": a3["return"]["fd"]}]}, "add-fd, query-fdsets: %s" % sets)
ok(c.do("closefd", fdname="/dev/fdset/7") == {"return": {}} and "no such set" in c.do("closefd", fdname="/dev/fdset/8")["error"]["desc"] and "NUMBER" in c.do("closefd", fdname="/dev/fdset/7x")["error"]["desc"], "/dev/fdset/N is the name of a copy")
ok(c.do("remove-fd", **{"fdset-id": 7, "fd": a2["return"]["fd"]}) == {"return": {}} and os.read(r2, 1) == b"", "remove-fd: one")
ok(d.do("remove-fd", **{"fdset-id": 7}) == {"return": {}} and os.read(r3, 1) == b"" and "error" in d.do("remove-fd", **{"fdset-id": 7}), "... and the set")
full = [add(c, **{"fdset-id": 1}) for _ in range(66)]
good = sum("return" in g for _, g in full)
ok(good == 63 and "at most" in full[65][1]["error"]["desc"], "sets are bounded: %d, %s" % (good, full[65][1]))
c.do("remove-fd", **{"fdset-id": 1})
for x, _ in full: os.close(x)
pid = d.do("penta-info")["return"]["pid"]
fds = lambda: len(os.listdir("/proc/%d/fd" % pid))
before = fds()
for i in range(50):
    x = Client(); r, w = os.pipe()
    x.s.sendmsg([b'{"execute":"getfd","arguments":{"fdname":"p%d"}}' % i], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [w, r]))])
    x.reply(); x.s.close(); os.close(r); os.close(w)
d.do("query-status"); time.sleep(0.2)
ok(fds() <= before, "descriptors go with their client")

many = [Client() for _ in range(14)]
e = socket.socket(socket.AF_UNIX); e.connect("control.sock"); e.settimeout(20)
ok(b"too many" in e.recv(1000) and many[13].do("query-status")["return"]["running"], "sixteen clients, and the next is told")
for x in many: x.s.close()
d.do("query-status"); d.events.clear()
for i in range(20): d.do("penta-inspect")
ok(not d.events, "a look at the devices is no pause: nobody is told")
deaf = Client(); deaf.s.settimeout(0.2)
try:
    while True: deaf.s.sendall(b'{"execute":"penta-inspect"}' * 100)
except OSError: pass
t0 = time.time(); good = d.do("query-status")["return"]["running"]
ok(good and time.time() - t0 < 5, "a client that does not read keeps nobody waiting")
deaf.s.close()
big = Client(); big.s.settimeout(5)
try:
    for _ in range(40): big.s.sendall(b'{"x":"' + b"a" * 65536)
except OSError: pass
ok(d.do("query-status")["return"]["running"], "a message without an end is cut off")
ok("return" in d.do("penta-set", name="stop-timeout", value="7") and d.do("penta-info")["return"]["config"]["stop-timeout"] == 7, "penta-set")
ok("error" in d.do("penta-set", name="memory", value="1G"), "... what needs a restart is refused")
c.s.close(); d.s.close(); time.sleep(0.3); d = Client()
ok(d.do("query-fdsets") == {"return": []} and os.read(r1, 1) == b"", "sets go with the last client")
ok(d.do("quit") == {"return": {}} and d.wait("SHUTDOWN") and d.line() is None, "quit: SHUTDOWN, then the end")
print("1..%d" % n)
P
rc=$?
[ $rc = 0 ] || echo "not ok 99 - the client failed ($rc)"
