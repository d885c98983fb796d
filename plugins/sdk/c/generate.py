#!/usr/bin/env python3
"""Makes contract.c, contract.h and contract_type.c of the contract, when it has changed.

Needs wit-bindgen: cargo install wit-bindgen-cli --version 0.63.0 --no-default-features --features c
"""

import pathlib
import shutil
import subprocess
import tempfile

SDK = pathlib.Path(__file__).resolve().parent
WIT = SDK.parents[2] / "wit"

TYPE = """/* The types of the contract, which the server makes a component by: a custom section of the plugin. Made by generate.py. */
__asm__(".section \\".custom_section.{section}\\",\\"\\",@\\n"
{lines}
        ".text\\n");

/* Called by nobody: contract.c names it, so that this file is linked. */
void __component_type_object_force_link_contract(void);
void __component_type_object_force_link_contract(void)
{{
}}
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        wit = pathlib.Path(folder) / "wit"
        shutil.copytree(WIT, wit)
        shutil.copy(SDK / "services.wit", wit)
        subprocess.run(["wit-bindgen", "c", wit, "--world", "contract", "--out-dir", folder], check=True)
        for name in ("contract.c", "contract.h"):
            shutil.copy(pathlib.Path(folder) / name, SDK)
        section, content = custom_section((pathlib.Path(folder) / "contract_component_type.o").read_bytes())
    rows = [content[at : at + 24] for at in range(0, len(content), 24)]
    lines = "\n".join(f'        ".byte {",".join(map(str, row))}\\n"' for row in rows)
    (SDK / "contract_type.c").write_text(TYPE.format(section=section, lines=lines))


def custom_section(module: bytes) -> tuple[str, bytes]:
    """The section of a module that holds the types: its name and its content."""
    at = 8
    while at < len(module):
        kind = module[at]
        size, start = leb128(module, at + 1)
        if kind == 0:
            length, name = leb128(module, start)
            content = name + length
            if module[name:content].startswith(b"component-type"):
                return module[name:content].decode(), module[content : start + size]
        at = start + size
    raise ValueError("wit-bindgen wrote no component type")


def leb128(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


main()
