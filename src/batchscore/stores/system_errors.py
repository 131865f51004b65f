"""What does it mean for a person when the system refuses to write, and what is to be done?"""

from __future__ import annotations

import errno

#: What the system says → what happened, and what to do.
ADVICE = {
    errno.ENOSPC: ("the disk is full", "free some space"),
    errno.EDQUOT: ("the disk quota is used up", "free some space or raise the quota"),
    errno.EFBIG: (
        "the file is larger than this system allows",
        "lower the rows per part, or raise `ulimit -f`",
    ),
    errno.EROFS: ("the file system is read-only", "choose an output folder that can be written"),
    errno.EACCES: ("no permission to write there", "choose another output folder, or change its permissions"),
    errno.EPERM: ("the system does not allow it", "choose another output folder, or change its permissions"),
    errno.EIO: ("the device failed", "check the disk or the mount"),
    errno.ESTALE: ("the network mount is stale", "mount it again"),
    errno.ETIMEDOUT: ("the network mount does not answer", "check the mount"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter output path, or shorten the input's name"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "choose another output folder"),
    errno.EEXIST: ("a part of the path is a file, not a folder", "choose another output folder"),
    errno.EISDIR: ("a folder has that name", "move it away, or choose another output folder"),
    errno.ENOENT: ("there can be no such folder, or it vanished meanwhile", "choose another output folder"),
    errno.ELOOP: ("its links go in a circle", "choose another output folder"),
    errno.EMFILE: ("too many open files", "raise `ulimit -n`"),
    errno.ENFILE: ("too many open files on this machine", "close other programs"),
}
AGAIN = "then run the same command again: it goes on where it stopped"
