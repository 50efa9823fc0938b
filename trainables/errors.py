"""What can go wrong in a trial that a user can mend.

    TrialError
      |- DataUnavailableError    a data set is neither there nor to be had
      |- DatasetError            a data set that another package brings is not what the loop needs
      |- TeacherError            a teacher cannot be used: wrong file, architecture or normalisation
      |- NetworkError            a network that another package brings is not what the loop needs
      |- DivergenceError         a divergence that another package or a file brings is not what the loop needs
      |- StudentError            a student to start from is not there, or damaged
      |- PrecisionError          the machine only imitates the precision that is asked for, slowly
      |- RecordingError          the loop cannot be recorded as a CUDA graph
      |- StorageRefusedError     storage does not let us: no right, no bucket, wrong key; an OSError too
      |- StorageOutageError      storage did not answer for longer than we wait; an OSError too
      `- CheckpointError         a checkpoint cannot be read
           `- DamagedCheckpointError   it is truncated or its checksum is wrong

Each message says what is wrong, with which value, and what to do.
"""

from __future__ import annotations


class TrialError(Exception):
    """Root of the tree above."""


class DataUnavailableError(TrialError):
    """A data set is neither in its folder nor can it be downloaded."""


class DatasetError(TrialError):
    """A data set that another package brings cannot be used."""


class TeacherError(TrialError):
    """A teacher's weights do not fit what the config says of them."""


class NetworkError(TrialError):
    """A network that another package brings cannot be used."""


class DivergenceError(TrialError):
    """A divergence that another package or a file brings cannot be used."""


class StudentError(TrialError):
    """A student that was kept cannot be used."""


class PrecisionError(TrialError):
    """A machine would compute in a precision that it has no instructions for."""


class RecordingError(TrialError):
    """The loop does something that a CUDA graph cannot hold."""


class StorageRefusedError(TrialError, OSError):
    """Storage refuses what is asked of it, and would again."""


class StorageOutageError(TrialError, OSError):
    """Storage did not answer for as long as patience lasted. Nothing that was kept is lost."""


class CheckpointError(TrialError):
    """A checkpoint cannot be used here."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint's bytes are not what was written."""


def in_a_line(error: BaseException) -> str:
    """Return what an error is and says, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
