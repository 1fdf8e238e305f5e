# SPDX-License-Identifier: GPL-2.0-or-later
"""machine.py - times what named machines do, for the benches, in one process: no interpreter starts
within what is measured. PENTA is the program, PENTA_HOME where its machines are. In the guest a shell
without echo is at the serial console. Prints milliseconds, a line each.
machine.py restore NAME FILE    `penta restore` until the guest's prompt answers an Enter
machine.py fork NAME NEW...     `penta fork` until it has ended; then until each NEW has answered; and
machine.py fork-exec NAME NEW... the same, with a guest that has the agent
machine.py ask NAME...          until each has answered: a command's output, through the console
machine.py exec NAME...         the same through the agent: `penta exec`"""
import os, selectors, socket, subprocess, sys, time

PENTA = os.environ["PENTA"]
HOME = os.environ["PENTA_HOME"] + "/machines/"
LIMIT = float(os.environ.get("ASK_S", "120"))


def penta(*args):
	subprocess.run([PENTA, *args], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)


def console(name):
	s = socket.socket(socket.AF_UNIX)
	end = time.monotonic() + LIMIT
	here = os.open(HOME + name, os.O_PATH)	# socket addresses are short
	try:
		while True:
			try:
				s.connect("/proc/self/fd/%d/console.sock" % here)
				return s
			except (FileNotFoundError, ConnectionRefusedError):
				if time.monotonic() > end:
					sys.exit("%s: no console" % name)
				time.sleep(0.001)
	finally:
		os.close(here)


def answers(names, say, want):
	"""Says @say to the console of each; until @want has come from all."""
	sel = selectors.DefaultSelector()
	got = {}
	for n in names:
		s = console(n)
		s.sendall(say)
		sel.register(s, selectors.EVENT_READ, n)
		got[n] = b""
	end = time.monotonic() + LIMIT
	while sel.get_map():
		for key, _ in sel.select(max(0.0, end - time.monotonic())):
			data = key.fileobj.recv(65536)
			got[key.data] += data
			if want in got[key.data] or not data:
				sel.unregister(key.fileobj)
				key.fileobj.close()
		if time.monotonic() >= end:
			break
	silent = [n for n in names if want not in got[n]]
	if silent:
		sys.exit("no answer from %d of %d: %s" % (len(silent), len(names), " ".join(silent[:5])))


def ask(names):
	# The sum is the guest's work: an echo of what was sent has no such number.
	answers(names, b"echo sum $((123456 * 1000 + 789))\r", b"sum 123456789")


def execs(names):
	run = {n: subprocess.Popen([PENTA, "exec", n, "expr", "123456", "+", "1"], stdin=subprocess.DEVNULL,
				   stdout=subprocess.PIPE) for n in names}
	silent = []
	end = time.monotonic() + LIMIT
	for n, p in run.items():
		try:
			out = p.communicate(timeout=max(0.1, end - time.monotonic()))[0]
		except subprocess.TimeoutExpired:
			p.kill()
			out = b""
		if out.strip() != b"123457":
			silent.append(n)
	if silent:
		sys.exit("no answer from %d of %d: %s" % (len(silent), len(names), " ".join(silent[:5])))


def main():
	what, names = sys.argv[1], sys.argv[2:]
	start = time.monotonic()

	def lap():
		print("%.1f" % ((time.monotonic() - start) * 1000), flush=True)
	if what == "restore":
		penta("restore", names[1], "--name", names[0])
		lap()
		ask(names[:1])
	elif what in ("fork", "fork-exec"):
		penta("fork", *names)
		lap()
		(execs if what == "fork-exec" else ask)(names[1:])
	elif what == "ask":
		ask(names)
	elif what == "exec":
		execs(names)
	else:
		sys.exit(__doc__)
	lap()


main()
