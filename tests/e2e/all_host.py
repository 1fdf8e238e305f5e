#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's end of tests/guests/all-init. all_host.py PORTS VSOCK: writes two port numbers to the file
PORTS (who answers here; a free one, to be forwarded to the guest's port 22), then does what the guest
waits for: answers one connection, calls the forwarded port and, by the socket VSOCK, port 5000."""
import os, socket, sys, threading, time

ports, vsock = sys.argv[1:]
listener = socket.create_server(("127.0.0.1", 0))
with socket.create_server(("127.0.0.1", 0)) as s:
    forwarded = s.getsockname()[1]
with open(ports + ".tmp", "w") as f:
    f.write("%d %d\n" % (listener.getsockname()[1], forwarded))
os.rename(ports + ".tmp", ports)

def until(what, seconds=120):
    """Try what() until it says yes; a guest takes its time to come up."""
    end = time.time() + seconds
    while time.time() < end:
        try:
            if what():
                return
        except OSError:
            pass
        time.sleep(0.2)

def answer():
    listener.settimeout(120)
    c, _ = listener.accept()
    c.settimeout(10)
    c.recv(100)
    c.sendall(b"answer\n")
    c.close()

def forward():
    with socket.create_connection(("127.0.0.1", forwarded), 2) as c:
        c.settimeout(5)
        if c.recv(100) == b"from guest\n":
            print("HOST-FORWARD", flush=True)
            return True

def echo():
    with socket.socket(socket.AF_UNIX) as c:
        c.settimeout(10)
        c.connect(vsock)
        c.sendall(b"CONNECT 5000\n")
        f = c.makefile("rb")
        if not f.readline().startswith(b"OK "):
            return False
        c.sendall(b"there and back")
        c.shutdown(socket.SHUT_WR)
        if f.read() == b"there and back":
            print("HOST-VSOCK", flush=True)
            return True

threads = [threading.Thread(target=t, daemon=True) for t in
           (answer, lambda: until(forward), lambda: until(echo))]
for t in threads:
    t.start()
for t in threads:
    t.join()
