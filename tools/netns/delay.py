"""Relays TCP with the delay and the stalls of a long way, where the kernel has no netem.

Usage: delay.py LISTEN_HOST:PORT TARGET_HOST:PORT ONE_WAY_MS LOSS_PERCENT
A lost packet is, for a TCP stream, a stall: what lies behind it waits for a retransmission (200 ms here).
"""
import asyncio
import random
import sys

STALL_S = 0.2
PACKET = 1400


async def carry(reader, writer, delay, loss):
    """One direction: bytes in order, each packet after its delay, behind those before it."""
    queue = asyncio.Queue(maxsize=4096)
    loop = asyncio.get_running_loop()

    async def take():
        while data := await reader.read(PACKET):
            await queue.put((loop.time() + delay + (STALL_S if random.random() < loss else 0), data))
        await queue.put((loop.time() + delay, b""))

    taking = asyncio.create_task(take())
    try:
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0, due - loop.time()))
            if not data:
                break
            writer.write(data)
            await writer.drain()
    except (ConnectionError, OSError):
        pass
    finally:
        taking.cancel()
        writer.close()


async def main(listen, target, delay_ms, loss_percent):
    host, port = target.rsplit(":", 1)

    async def connected(reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.close()
            return
        ways = [(reader, far_writer), (far_reader, writer)]
        carried = [carry(*way, int(delay_ms) / 1000, float(loss_percent) / 100) for way in ways]
        await asyncio.gather(*carried, return_exceptions=True)

    host_here, port_here = listen.rsplit(":", 1)
    server = await asyncio.start_server(connected, host_here, int(port_here))
    await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
