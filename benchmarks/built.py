"""The artifacts of `sam build`: the parts of a function, as Lambda lays them out, and their sizes."""

import os
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Function:
    """A built function.

    memory: in MB. environment: the template's variables, with parameters at their defaults, and with the name of a
    resource in place of a reference to the resource.
    """

    name: str
    handler: str
    code: Path
    layers: tuple[Path, ...]
    environment: dict[str, str]
    memory: int

    @property
    def event(self) -> Path:
        """The sample event of the function."""
        return ROOT / "events" / f"{self.handler.partition('.')[0]}.json"

    def lay_out(self, folder: Path) -> list[Path]:
        """Lay the function out as Lambda does, with links instead of copies.

        Returns:
            The folders to search, in order: the code, and a folder of all layers, in which files of a later layer hide
            files of an earlier layer.
        """
        opt = folder / self.name
        for layer in self.layers:
            shutil.copytree(layer / "python", opt, copy_function=_link, dirs_exist_ok=True)
        return [self.code, opt]


def _link(file: str, place: str) -> None:
    Path(place).unlink(missing_ok=True)
    os.link(file, place)


def functions(artifacts: Path) -> dict[str, Function]:
    """Return every function of the built template by the name of its package: webhook_handler and so on."""
    template = yaml_parse((artifacts / "template.yaml").read_text())
    defaults: dict[str, str] = {name: str(each.get("Default", "")) for name, each in template["Parameters"].items()}
    shared = template["Globals"]["Function"]
    found = {}
    for name, resource in template["Resources"].items():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        properties = resource["Properties"]
        variables = shared["Environment"]["Variables"] | properties.get("Environment", {}).get("Variables", {})
        found[properties["Handler"].partition(".")[0]] = Function(
            name=name,
            handler=properties["Handler"],
            code=artifacts / name,
            layers=tuple(artifacts / layer["Ref"] for layer in [*shared["Layers"], *properties.get("Layers", [])]),
            environment={
                variable: _value(value, defaults)
                for variable, value in variables.items()
                if value != {"Ref": "AWS::NoValue"}
            },
            memory=properties.get("MemorySize", shared["MemorySize"]),
        )
    return found


def _value(given: Any, defaults: dict[str, str]) -> str:
    if not isinstance(given, dict):
        return str(given)
    ((kind, named),) = given.items()
    return str(defaults.get(named, named) if kind == "Ref" else named)


def unzipped(folder: Path) -> int:
    """Return the bytes of all files under a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def zipped(folder: Path, archive: Path) -> int:
    """Archive a folder as for an upload from a clean checkout, and return the bytes of the archive. `sam build` also
    copies the bytecode that tests leave in a checkout."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for file in sorted(folder.rglob("*")):
            if "__pycache__" not in file.parts:
                opened.write(file, file.relative_to(folder))
    return archive.stat().st_size
