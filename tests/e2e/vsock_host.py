#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's end of test_vsock.sh: in the current folder, serves "vsock_52" (checks a pattern, answers with
another), then, when told by a line on stdin, makes 20 connections to the guest's port 5000, 8 at once."""
import os, socket, sys, threading

TOTAL = 4 << 20

def pattern(salt):
    return bytes((((i * 2654435761 & 0xffffffffffffffff) >> 13) + salt) & 255 for i in range(TOTAL))

want, answer = pattern(1), pattern(2)
listener = socket.socket(socket.AF_UNIX)
listener.bind("vsock_52")
os.chmod("vsock_52", 0o777)
listener.listen()

def serve():
    c, _ = listener.accept()
    got = b""
    while True:
        piece = c.recv(65536)
        if not piece:
            break
        got += piece
    print("HOST-SERVED", len(got), got == want, flush=True)
    c.sendall(answer)
    c.close()

threading.Thread(target=serve, daemon=True).start()
print("HOST-READY", flush=True)
sys.stdin.readline()
os.unlink("vsock_52")          # the guest has called by now

good = 0
lock = threading.Lock()
turns = threading.Semaphore(8)

def connect(i):
    global good
    with turns:
        c = socket.socket(socket.AF_UNIX)
        c.connect("vsock.sock")
        c.sendall(b"CONNECT 5000\n")
        f = c.makefile("rb")
        line = f.readline()
        data = os.urandom(200000 + i)
        def send():
            c.sendall(data)
            c.shutdown(socket.SHUT_WR)
        t = threading.Thread(target=send)
        t.start()
        back = f.read()
        t.join()
        c.close()
        with lock:
            good += line.startswith(b"OK ") and back == data

threads = [threading.Thread(target=connect, args=(i,)) for i in range(20)]
for t in threads:
    t.start()
for t in threads:
    t.join()
print("HOST-ECHOED", good, flush=True)
