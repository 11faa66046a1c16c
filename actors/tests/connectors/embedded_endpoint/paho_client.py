#!/usr/bin/python3
"""A device with a client that is not ours (Debian's python3-paho-mqtt).

usage: paho_client.py HOST PORT VERSION DEVICE COUNT

Subscribes to its commands, publishes COUNT messages at QoS 1 in order, waits until all are acknowledged, says "ready",
waits for one command and prints it, and leaves when its input ends. VERSION is 4 (3.1.1) or 5.
"""

import sys
import threading

import paho.mqtt.client as mqtt

DEADLINE = 60


def main():
    host, port, version, device, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], int(sys.argv[5])
    if version == 5:
        client = mqtt.Client(client_id=device, protocol=mqtt.MQTTv5)
    else:
        client = mqtt.Client(client_id=device, clean_session=True, protocol=mqtt.MQTTv311)
    acknowledged = threading.Semaphore(0)
    subscribed, commanded = threading.Event(), threading.Event()
    commands = []
    client.on_publish = lambda *_: acknowledged.release()
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_connect = lambda c, *_: c.subscribe(f"devices/{device}/commands", qos=1)

    def on_message(_client, _userdata, message):
        commands.append(message)
        commanded.set()

    client.on_message = on_message
    client.connect(host, port, keepalive=60)
    client.loop_start()
    if not subscribed.wait(DEADLINE):
        sys.exit("the subscription was not acknowledged")
    for number in range(count):
        client.publish(f"devices/{device}/data", f'{{"n":{number}}}', qos=1)
    for number in range(count):
        if not acknowledged.acquire(timeout=DEADLINE):
            sys.exit(f"only {number} of {count} were acknowledged")
    print("ready", flush=True)
    if not commanded.wait(DEADLINE):
        sys.exit("no command came")
    print(commands[0].topic, commands[0].qos, commands[0].payload.decode(), flush=True)
    # The acknowledgement of the command leaves behind its callback, on another thread.
    sys.stdin.read()
    client.disconnect()


main()
