"""How many bytes a second two processes exchange over TCP on this machine's loopback, both ways at once, as two ranks do:
each moves its socket's bytes by one thread that waits for the socket (gloo's event loop), straight from and to memory.
"""

import multiprocessing
import selectors
import socket
import statistics
import time


def exchange(link, rounds, message_bytes):
    """Sends and receives `rounds` messages; returns the seconds."""
    outgoing, incoming = memoryview(bytearray(message_bytes)), memoryview(bytearray(message_bytes))
    link.setblocking(False)
    total = rounds * message_bytes
    sent = received = 0
    began = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        selector.register(link, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while sent < total or received < total:
            for _, events in selector.select():
                if events & selectors.EVENT_WRITE and sent < total:
                    sent += link.send(outgoing[sent % message_bytes:])
                if events & selectors.EVENT_READ and received < total:
                    count = link.recv_into(incoming[received % message_bytes:])
                    if count == 0:
                        raise ConnectionError("the other process is gone")
                    received += count
            if sent == total:
                selector.modify(link, selectors.EVENT_READ)
    seconds = time.perf_counter() - began
    link.setblocking(True)
    return seconds


def answer(port, repeats, rounds, message_bytes):
    with socket.create_connection(("127.0.0.1", port)) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(repeats):
            begin_together(link)
            exchange(link, rounds, message_bytes)


def begin_together(link):
    link.sendall(b".")
    link.recv(1)


def bytes_per_second(message_bytes, total_bytes=1 << 30, repeats=5):
    """Of each direction, while both are busy: the median of `repeats`."""
    rounds = max(1, total_bytes // message_bytes)
    with socket.create_server(("127.0.0.1", 0)) as server:
        other = multiprocessing.Process(target=answer, args=(server.getsockname()[1], repeats, rounds, message_bytes))
        other.start()
        link, _ = server.accept()
        with link:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            seconds = []
            for _ in range(repeats):
                begin_together(link)
                seconds.append(exchange(link, rounds, message_bytes))
        other.join()
    return rounds * message_bytes / statistics.median(seconds)


if __name__ == "__main__":
    print(f"{bytes_per_second(14 << 20) / 1e9:.2f} GB/s each way")
