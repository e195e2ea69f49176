# SPDX-License-Identifier: Apache-2.0
"""What the wheel adds to the program `quern`: quern.models fetches embedded models, quern.ray serves over the machines of a Ray cluster."""
import os
import pathlib
import shutil
import sysconfig


def program():
    """The path of the program: $QUERN, the one of this installation, or the one on PATH. Throws FileNotFoundError."""
    if named := os.environ.get("QUERN"):
        return named
    own = pathlib.Path(sysconfig.get_path("scripts"), "quern")
    if found := str(own) if own.exists() else shutil.which("quern"):
        return found
    raise FileNotFoundError(f"no program quern in {own.parent} or on PATH: pip install quern, or name it in $QUERN")
