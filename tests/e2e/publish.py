#!/usr/bin/python3
"""Publishes what it reads, with a client that is not ours (Debian's python3-paho-mqtt).

usage: publish.py HOST PORT < lines

A line is a topic, a tab and a payload. Everything goes out at QoS 1, in order, as fast as the broker takes it. Ends when
the broker has acknowledged all; prints nothing but errors.
"""

import sys
import threading

import paho.mqtt.client as mqtt

DEADLINE = 120
# Packet ids are 16 bits wide; paho refuses a message whose id is still in use.
OUTSTANDING = 20_000


def main():
    host, port = sys.argv[1], int(sys.argv[2])
    client = mqtt.Client(client_id="", clean_session=True)
    client.max_inflight_messages_set(500)
    client.max_queued_messages_set(0)
    acknowledged = threading.Semaphore(0)
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    room = threading.Semaphore(OUTSTANDING)

    def on_publish(*_):
        acknowledged.release()
        room.release()

    client.on_publish = on_publish
    client.connect(host, port)
    client.loop_start()
    if not connected.wait(DEADLINE):
        sys.exit("the broker did not answer")
    sent = 0
    for line in sys.stdin.buffer:
        if not room.acquire(timeout=DEADLINE):
            sys.exit("the broker acknowledges nothing")
        topic, _, payload = line.rstrip(b"\n").partition(b"\t")
        result = client.publish(topic.decode(), payload, qos=1)
        if result.rc != mqtt.MQTT_ERR_SUCCESS:
            sys.exit(f"cannot publish to {topic}: {mqtt.error_string(result.rc)}")
        sent += 1
    for number in range(sent):
        if not acknowledged.acquire(timeout=DEADLINE):
            sys.exit(f"the broker acknowledged only {number} of {sent}")
    client.disconnect()


main()
