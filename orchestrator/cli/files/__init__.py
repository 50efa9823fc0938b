"""Commands that write data sets as files and delete the files of sweeps."""

from __future__ import annotations
