#!/usr/bin/python3
"""Many connections that do nothing.

usage: idle_clients.py PORT COUNT < lines

Opens COUNT connections, each a client of MQTT 3.1.1 that is let in, and says "ready". Then, for each line that it reads,
pings on all of them and says how many answered.
"""

import resource
import socket
import struct
import sys


def main():
    port, count = int(sys.argv[1]), int(sys.argv[2])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sockets = []
    for number in range(count):
        client = b"idle%d" % number
        body = b"\0\4MQTT\4\2\0\0" + struct.pack(">H", len(client)) + client
        idle = socket.create_connection(("127.0.0.1", port), timeout=60)
        idle.sendall(bytes([0x10, len(body)]) + body)
        sockets.append(idle)
    for idle in sockets:
        if idle.recv(4, socket.MSG_WAITALL) != b"\x20\x02\0\0":
            sys.exit("a client was not let in")
    print("ready", flush=True)
    for _ in sys.stdin:
        for idle in sockets:
            idle.sendall(b"\xc0\0")
        print(sum(idle.recv(2, socket.MSG_WAITALL) == b"\xd0\0" for idle in sockets), flush=True)


main()
