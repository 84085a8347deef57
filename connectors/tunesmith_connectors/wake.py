"""Wake-on-LAN: the magic packet that starts a sleeping machine."""

import re
import socket

BROADCAST = "255.255.255.255"
PORT = 9
_COPIES = 3  # a datagram may be lost, and a machine that is awake ignores them
_MAC = re.compile(r"[0-9A-Fa-f]{2}([:-]?)(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}")


def magic_packet(mac: str) -> bytes:
    """102 bytes: six times FF, then the address sixteen times. Raises ValueError for what is no MAC address."""
    if not _MAC.fullmatch(mac):
        raise ValueError(f"{mac!r} is not a MAC address like 3c:52:82:aa:bb:cc")
    return b"\xff" * 6 + bytes.fromhex(re.sub("[:-]", "", mac)) * 16


def wake(mac: str, broadcast: str = BROADCAST, port: int = PORT) -> None:
    """Send the packet by UDP broadcast. Raises OSError when there is no network to send it on."""
    packet = magic_packet(mac)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for _ in range(_COPIES):
            sender.sendto(packet, (broadcast, port))
