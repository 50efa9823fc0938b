"""Errors of a trial that the user can correct.

    TrialError
      |- DataUnavailableError    a data set is missing or cannot be read
      |- DatasetError            a data set from another package or a file does not meet the requirements
      |- TeacherError            a teacher cannot be used: wrong file, architecture or normalisation
      |- NetworkError            a network from another package or a file does not meet the requirements
      |- DivergenceError         a divergence from another package or a file does not meet the requirements
      |- StudentError            a student to start from is missing or damaged
      |- PrecisionError          the machine has no instructions for the precision and would emulate it slowly
      |- RecordingError          the loop cannot be recorded as a CUDA graph
      |- StorageRefusedError     storage refuses access: no permission, no bucket, wrong credentials; also an OSError
      |- StorageOutageError      storage did not answer before the time-out; also an OSError
      `- CheckpointError         a checkpoint cannot be used
           `- DamagedCheckpointError   the checkpoint is truncated or its checksum is wrong

Each message says what is wrong, with which value, and what to do.
"""

from __future__ import annotations


class TrialError(Exception):
    """Base class of the errors that a user can correct."""


class DataUnavailableError(TrialError):
    """A data set is missing and cannot be downloaded, or its images cannot be read."""


class DatasetError(TrialError):
    """A data set from another package or a file cannot be used."""


class TeacherError(TrialError):
    """A teacher's weights cannot be used, or do not agree with the config."""


class NetworkError(TrialError):
    """A network from another package or a file cannot be used."""


class DivergenceError(TrialError):
    """A divergence from another package or a file cannot be used."""


class StudentError(TrialError):
    """A stored student to start from cannot be used."""


class PrecisionError(TrialError):
    """A machine has no instructions for the precision of a trial."""


class RecordingError(TrialError):
    """The loop contains an operation that a CUDA graph cannot record."""


class StorageRefusedError(TrialError, OSError):
    """Storage refuses a request, and a retry would not help."""


class StorageOutageError(TrialError, OSError):
    """Storage did not answer before the time-out. Everything that was stored before is safe."""


class CheckpointError(TrialError):
    """A checkpoint cannot be used for this trial."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint's bytes differ from those that were written."""


def in_a_line(error: BaseException) -> str:
    """Return the class and message of an error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
