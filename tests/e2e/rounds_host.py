#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's end of test_rounds.sh. Its guests compute, write disks and talk TCP (tests/guests/rounds.c);
here is whom they talk to, and who pauses, saves, restores, snapshots and forks them at random moments, then
holds against them: nothing was ever wrong, everything goes on, the clock is right.
usage: rounds_host.py PENTA KERNEL INITRD FOLDER ROUNDS CPUS   (PENTA_HOME says where machines are)"""
import json, os, random, socket, subprocess, sys, threading, time

penta, kernel, initrd, folder = sys.argv[1:5]
rounds, cpus = int(sys.argv[5]), int(sys.argv[6])
machines = os.environ["PENTA_HOME"] + "/machines/"
seed = int(os.environ.get("SEED", time.time_ns() % 1000000))
rnd = random.Random(seed)
MS = 1000000

class Wrong(Exception):
    pass

def p(*args, ok=True):
    r = subprocess.run([penta, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100)
    if ok and r.returncode:
        raise Wrong("penta %s: %s" % (" ".join(args), r.stderr.strip()))
    return r.stdout

# --- whom the guests talk to ---

def echo(c):
    try:
        while data := c.recv(65536):
            c.sendall(data)
    except OSError:
        pass
    c.close()

def listen():
    s = socket.create_server(("127.0.0.1", 0), backlog=64)
    def run():
        while True:
            threading.Thread(target=echo, args=(s.accept()[0],), daemon=True).start()
    threading.Thread(target=run, daemon=True).start()
    return s.getsockname()[1]

# --- what the guests say ---

def call(name):
    """A connection to the guest's service, or None."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(5)
    try:
        # Socket addresses are short, folders' names may be long.
        d = os.open(machines + name, os.O_RDONLY)
        try:
            s.connect("/proc/self/fd/%d/vsock.sock" % d)
        finally:
            os.close(d)
        s.sendall(b"CONNECT 5000\n")
        line = b""
        while not line.endswith(b"\n"):
            c = s.recv(1)
            if not c:
                raise OSError("closed")
            line += c
        if line.startswith(b"OK"):
            return s
    except OSError:
        pass
    s.close()
    return None

def ask(name, what, wait=20):
    """(its answer, when it was asked, when it came), the times in ns."""
    end = time.monotonic() + wait
    while time.monotonic() < end:
        s = call(name)
        if s:
            try:
                a = time.time_ns()
                s.sendall(what)
                text = b""
                while not text.endswith(b"\n"):
                    d = s.recv(4096)
                    if not d:
                        raise OSError("closed")
                    text += d
                return text.decode().strip(), a, time.time_ns()
            except OSError:
                pass
            finally:
                s.close()
        time.sleep(0.05)
    raise Wrong("%s does not answer" % name)

def state(name):
    text = ask(name, b"s")[0]
    head, _, wrong = text.partition(" wrong=")
    if wrong:
        raise Wrong("%s: %s" % (name, wrong))
    return {k: int(v) for k, v in (w.split("=") for w in head.split())}

def right(name):
    """Nothing was wrong, and each worker goes on."""
    a = state(name)
    end = time.monotonic() + 40
    while time.monotonic() < end:
        time.sleep(0.1)
        b = state(name)
        stuck = [k for k in a if k != "cut" and b[k] <= a[k]]
        if not stuck:
            return
    raise Wrong("%s: stuck: %s: %s" % (name, " ".join(stuck), b))

settled, offs = [], []
def clock(name):
    """Right within 10 ms, soon; the guest's answer lies between question and answer. How long that took."""
    start = time.monotonic()
    best = None
    while time.monotonic() < start + 20:
        s = call(name)
        try:
            for _ in range(20 if s else 0):	# the first one waits for the guest's fork()
                a = time.time_ns()
                s.sendall(b"t")
                text = s.recv(100)
                b = time.time_ns()
                if not text.endswith(b"\n"):
                    break
                worst = max(abs(int(text) - a), abs(int(text) - b))	# it may be off by so much
                if worst < 10 * MS:
                    settled.append(time.monotonic() - start)
                    offs.append(worst)
                    return
                best = min(best or worst, worst)
        except OSError:
            pass
        finally:
            if s:
                s.close()
        time.sleep(0.02)
    raise Wrong("%s: the clock is off by up to %.1f ms" % (name, (best or 0) / MS))

def moment():
    time.sleep(rnd.random() * 0.8)

# --- a machine ---

def make(name, port):
    disks = []
    for fmt in ("raw", "qcow2"):
        path = "%s/%s.%s" % (folder, name, fmt)
        p("image", "create", path, "64M", "--format", fmt)
        disks += ["--disk", path + ",format=" + fmt]
    p("create", name, "--kernel", kernel, "--initrd", initrd, "--memory", "192M", "--cpus", str(cpus),
      "--serial", "console", "--net", "user", "--vsock", "auto", *disks,
      "--append", "console=ttyS0 quiet cryptomgr.notests port=%d" % port)
    p("start", name)
    state_at = time.monotonic() + 90
    while "READY" not in open(machines + name + "/console.log", errors="replace").read():
        if time.monotonic() > state_at:
            raise Wrong("%s does not boot" % name)
        time.sleep(0.1)

took = {}
def timed(what, *args):
    start = time.monotonic()
    p(*args)
    took.setdefault(what, []).append(time.monotonic() - start)

def one_round(i):
    moment()
    timed("pause", "pause", "m"); moment(); timed("resume", "resume", "m")
    clock("m")
    moment()
    timed("save", "save", "m", folder + "/state")
    timed("restore", "restore", folder + "/state")
    clock("m"); right("m")
    moment()
    timed("snapshot take", "snapshot", "take", "m", "s")
    clock("m"); moment()
    timed("snapshot restore", "snapshot", "restore", "m", "s")
    clock("m"); right("m")
    timed("snapshot rm", "snapshot", "rm", "m", "s")
    if i % 4 == 0:
        moment()
        timed("fork", "fork", "m", "f")
        clock("f"); right("f"); clock("m"); right("m")
        if p("exec", "f", "/bin/echo", "agent").strip() != "agent":
            raise Wrong("the fork's agent does not answer")
        p("stop", "--force", "f")
        p("rm", "--force", "f")
    # Snapshots and forks that have gone leave no chain of files behind.
    longest = max(chain(f) for f in layers())
    if longest > 15:
        raise Wrong("a disk has come to consist of %d files" % longest)

def layers():
    return [root + "/" + f for root, _, files in os.walk(machines) for f in files if f.endswith(".qcow2")]

def chain(path):
    return len(json.loads(p("image", "info", "--json", path)))

def check_files():
    for root, _, files in os.walk(machines):
        for f in files:
            if f.endswith(".qcow2"):
                r = subprocess.run(["qemu-img", "check", "-q", root + "/" + f], capture_output=True, text=True)
                if r.returncode:
                    raise Wrong("%s: %s" % (f, r.stdout + r.stderr))

done = 0
try:
    make("m", listen())
    right("m"); clock("m")
    for i in range(rounds):
        one_round(i)
        done += 1
        if rounds >= 20 and done % 10 == 0:
            print("# %d rounds" % done, flush=True)
    p("stop", "--force", "m")
    check_files()
except (Wrong, subprocess.TimeoutExpired, OSError) as e:
    print("# round %d of %d, seed %d: %s" % (done + 1, rounds, seed, e))
    sys.exit(1)
print("# %d rounds; %s; clock right %.0f ms after (at most %.0f), then off by at most %.1f ms" % (done,
    ", ".join("%s %.0f ms" % (k, sorted(v)[len(v) // 2] * 1000) for k, v in took.items()),
    sorted(settled)[len(settled) // 2] * 1000, max(settled) * 1000, max(offs) / MS))
