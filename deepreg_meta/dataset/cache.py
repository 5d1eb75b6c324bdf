"""
Volumes kept in memory, the ones used last, within a limit.
"""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from deepreg_meta.dataset.volume import Volume

Key = tuple[str, int]  # (role, index) of one volume


class VolumeCache:
    """
    The volumes used last, within a limit of memory.

    :param max_bytes: what the arrays may take together; 0 keeps nothing.
    """

    def __init__(self, max_bytes: float) -> None:
        self._max_bytes, self._num_bytes = max_bytes, 0
        self._volumes: OrderedDict[Key, Volume] = OrderedDict()
        self._lock = Lock()  # tf.data reads from its own threads

    def get(self, key: Key, read: Callable[[], Volume]) -> Volume:
        """Return a volume, read now where it is not in memory."""
        with self._lock:
            if key in self._volumes:
                self._volumes.move_to_end(key)
                return self._volumes[key]
        volume = read()
        with self._lock:
            if volume.num_bytes <= self._max_bytes and key not in self._volumes:
                self._volumes[key] = volume
                self._num_bytes += volume.num_bytes
            while self._num_bytes > self._max_bytes:
                _, oldest = self._volumes.popitem(last=False)
                self._num_bytes -= oldest.num_bytes
        return volume
