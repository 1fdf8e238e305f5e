#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's end of test_kill.sh: kill -9 of a machine, of the penta that works on it, or of both, at a
random moment while the guest writes, and while it is saved, restored, snapshot, forked, cloned. Then: what
the guest flushed is there, what is visible is whole, and the machine starts again.
usage: kill_host.py PENTA KERNEL INITRD CHECK FOLDER ROUNDS   (PENTA_HOME says where machines are)"""
import json, os, random, shutil, socket, subprocess, sys, threading, time

penta, kernel, initrd, check, folder = sys.argv[1:6]
rounds = int(sys.argv[6])
machines = os.environ["PENTA_HOME"] + "/machines/"
seed = int(os.environ.get("SEED", time.time_ns() % 1000000))
rnd = random.Random(seed)
FORMATS = ("raw", "qcow2")

class Wrong(Exception):
    pass

def p(*args, ok=True):
    r = subprocess.run([penta, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100)
    if ok and r.returncode:
        raise Wrong("penta %s: %s" % (" ".join(args), r.stderr.strip()))
    return r

# --- what the guest says: it is flushed ---

logs = [open("%s/log%d" % (folder, i), "a") for i in range(len(FORMATS))]
last = [0] * len(FORMATS)		# number of the last line

def serve(c):
    f = c.makefile("rw")
    try:
        n = int(f.readline())
        # Others that wrote with higher numbers and never said so (a copy that went on): leave room.
        f.write("%d\n" % (last[n] + 1000))
        f.flush()
        for line in f:
            if line.endswith("\n"):
                logs[n].write(line)
                logs[n].flush()
                last[n] = int(line.split()[0])
    except (OSError, ValueError):
        pass

def listen():
    s = socket.create_server(("127.0.0.1", 0), backlog=64)
    def run():
        while True:
            threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
    threading.Thread(target=run, daemon=True).start()
    return s.getsockname()[1]

def goes_on(seconds):
    before, end = list(last), time.monotonic() + seconds
    while time.monotonic() < end:
        if all(a > b + 3 for a, b in zip(last, before)):
            return True
        time.sleep(0.02)
    return False

# --- what must hold ---

def pid(name):
    for m in json.loads(p("ls", "--json").stdout):
        if m["name"] == name:
            return m.get("pid", 0)
    return 0

def config(name):
    return json.load(open(machines + name + "/config.json"))

def holds(name, low, high):
    """The disks of machine NAME have all up to LOW, and nothing after HIGH."""
    for i, d in enumerate(config(name)["disk"]):
        path = os.path.join(machines + name, d["path"])
        raw = folder + "/raw"
        r = subprocess.run(["qemu-img", "convert", "-U", "-O", "raw", path, raw], capture_output=True, text=True)
        if r.returncode:
            return "%s: %s" % (path, r.stderr)
        r = subprocess.run([check, "check", logs[i].name, raw, str(low[i]), str(high[i])], capture_output=True, text=True)
        if r.returncode:
            return "%s, disk %d: %s" % (name, i, r.stdout)
    return ""

def whole():
    """No file that is not what its name says."""
    for root, _, files in os.walk(os.environ["PENTA_HOME"]):
        hidden = any(part.startswith(".") for part in root.split("/"))
        for f in files:
            path = root + "/" + f
            if hidden or f.startswith("."):
                continue
            if f.endswith(".qcow2"):
                r = subprocess.run(["qemu-img", "check", "-U", "-q", path], capture_output=True, text=True)
                if r.returncode not in (0, 3):		# 3: clusters that nobody uses
                    raise Wrong("%s: %s" % (path, r.stdout + r.stderr))
            if f.endswith(".state") and os.path.exists(path[:-6] + ".json"):
                p("restore", "--info", path)
            if f.endswith(".json"):
                json.load(open(path))
    if os.path.exists(folder + "/state"):
        p("restore", "--info", folder + "/state")

def start():
    for i in range(50):
        r = p("start", "m", ok=False)
        if not r.returncode:
            break
        time.sleep(0.1)				# who was killed is still going
    else:
        raise Wrong("it does not start again: " + r.stderr)
    if not goes_on(60):
        raise Wrong("started again, it does not write")

def stop(name):
    if os.path.isdir(machines + name):
        p("stop", "--force", name, ok=False)
        p("rm", "--force", name)

# --- a round ---

def one_round(what):
    low = high = None
    start()
    cmd = {"write": None, "save": ["save", "m", folder + "/state"], "take": ["snapshot", "take", "m", "s"],
           "back": ["snapshot", "restore", "m", "s"], "drop": ["snapshot", "rm", "m", "s"],
           "fork": ["fork", "m", "f"], "clone": ["clone", "m", "c"], "linked": ["clone", "--linked", "m", "c"]}[what]
    if what in ("back", "drop"):
        low = list(last)
        p("snapshot", "take", "m", "s")
        high = list(last)
        goes_on(5)
    if what in ("clone", "linked"):
        p("stop", "--force", "m")
    victims = rnd.choice(["machine", "penta", "both"]) if cmd else "machine"
    if what in ("clone", "linked"):
        victims = "penta"
    cli = cmd and subprocess.Popen([penta, *cmd], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(rnd.random() * rnd.choice([0.02, 0.1, 0.5, 2]))
    m = pid("m")
    done = cli is not None and cli.poll() is not None
    if victims != "machine" and cli:
        cli.kill()
    if victims != "penta" and m:
        try:
            os.kill(m, 9)
        except ProcessLookupError:
            pass
    if cli:
        cli.wait(60)
    if victims == "penta" and not done and what in ("take", "fork", "drop") and not goes_on(30):
        raise Wrong("it does not go on after penta was killed")
    for i in range(100):			# until it has gone
        m = pid("m")
        if not m:
            break
        try:
            os.kill(m, 9)
        except ProcessLookupError:
            pass
        time.sleep(0.05)
    time.sleep(0.1)				# what the guest had said comes to us
    p("stop", "--force", "f", ok=False)
    whole()
    bad = holds("m", [0, 0], last)
    if bad and what == "back":
        bad = holds("m", low, high)		# it has gone back
    if bad:
        raise Wrong(bad)
    for other in ("f", "c"):
        if os.path.isdir(machines + other):
            bad = holds(other, [0, 0], last) if other == "c" else ""
            stop(other)
            if bad:
                raise Wrong(bad)
    if os.path.exists(folder + "/state"):
        os.unlink(folder + "/state")
    p("snapshot", "rm", "m", "s", ok=False)
    left = [d for d in os.listdir(machines) if d != "m" and not d.startswith(".")]
    if left:
        raise Wrong("left behind: " + " ".join(left))
    if what == "back":				# now the past is what counts
        for i, l in enumerate(logs):
            l.truncate(0)

done = 0
count = {}
try:
    disks = []
    for fmt in FORMATS:
        path = folder + "/m." + fmt
        p("image", "create", path, "16M", "--format", fmt)
        disks += ["--disk", path + ",format=" + fmt]
    p("create", "m", "--kernel", kernel, "--initrd", initrd, "--memory", "128M", "--serial", "console",
      "--net", "user", *disks, "--append", "console=ttyS0 quiet cryptomgr.notests port=%d" % listen())
    kinds = ["save", "take", "back", "fork", "write", "drop", "clone", "linked"]
    for i in range(rounds):
        what = kinds[i % len(kinds)]
        one_round(what)
        count[what] = count.get(what, 0) + 1
        done += 1
        if rounds >= 20 and done % 10 == 0:
            print("# %d rounds" % done, flush=True)
except (Wrong, subprocess.TimeoutExpired, OSError, ValueError) as e:
    print("# round %d of %d (%s), seed %d: %s" % (done + 1, rounds, what, seed, e))
    sys.exit(1)
print("# %d rounds: %s; %d flushed writes" % (done, ", ".join("%s %d" % c for c in count.items()), sum(last)))
