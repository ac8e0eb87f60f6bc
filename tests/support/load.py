"""Steady load from a process of its own: `python load.py HOST PORT PATH CONNECTIONS`.

Reads the body from stdin, sends it again and again until SIGTERM, and prints what came back.
"""

import asyncio
import json
import signal
import sys
from collections import Counter


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[int, bytes]:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length"))
    return int(lines[0].split()[1]), await reader.readexactly(length)


async def _connection(address: tuple[str, int], request: bytes, stop: asyncio.Event, seen: Counter):
    reader, writer = await asyncio.open_connection(*address)
    while not stop.is_set():
        try:
            status, body = await _ask(reader, writer, request)
        except (OSError, EOFError, StopIteration) as error:  # a broken answer is a failed one
            seen[json.dumps({"failed": repr(error)})] += 1
            reader, writer = await asyncio.open_connection(*address)
            continue
        answer = json.loads(body)
        for prediction in answer.get("predictions", []):
            del prediction["id"]  # all else is the same for the same rows and version
        seen[json.dumps({"status": status, "answer": answer}, sort_keys=True)] += 1
    writer.close()


async def main(host: str, port: str, path: str, connections: str) -> None:
    body = sys.stdin.buffer.read()
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    stop, seen = asyncio.Event(), Counter()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print("ready", flush=True)
    address = host, int(port)
    await asyncio.gather(
        *(_connection(address, request, stop, seen) for _ in range(int(connections)))
    )
    print(json.dumps([[json.loads(text), count] for text, count in seen.items()]))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
