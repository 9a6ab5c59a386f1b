"""An XCom backend that stores each value in a file, and only the file's name in Airflow's database."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

from airflow.sdk.bases.xcom import BaseXCom

FOLDER = Path(os.environ["FILE_XCOM_FOLDER"])
PREFIX = "file-xcom:"


class FileXCom(BaseXCom):
    """Stores values in ``FILE_XCOM_FOLDER``."""

    @staticmethod
    def serialize_value(value: Any, **place: Any) -> Any:
        """Write the value, and let Airflow store the file's name."""
        name = uuid.uuid4().hex
        (FOLDER / name).write_text(json.dumps(value))
        return BaseXCom.serialize_value(PREFIX + name)

    @staticmethod
    def deserialize_value(result: Any) -> Any:
        """Read the file."""
        stored = BaseXCom.deserialize_value(result)
        return json.loads((FOLDER / stored.removeprefix(PREFIX)).read_text())
