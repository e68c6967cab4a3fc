"""The TypeScript client: what the OpenAPI says, well-typed, and at work where Node is."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from served import serving, shop_settings
from vitrina.bundle.registry import Registry
from vitrina.online.app import create_app

FOLDER = Path(__file__).parents[2] / "clients" / "typescript"
AGAIN = "Run: python clients/typescript/generate.py"

PROGRAM = """
import { Vitrina, VitrinaError } from "./vitrina.js"
const [, , url] = process.argv
const vitrina = new Vitrina(url, { timeout: 30000 })
const event = { user_id: "ann", item_id: "item-0003", event_type: "view" }
const taken = await vitrina.postEvents([event, event])
const shelf = await vitrina.getRecommendations({ user_id: "ann", k: 3, category: ["BAKERY"] })
const refusal = await vitrina.getItem("no such / item").catch(error => error)
console.log(JSON.stringify({
  taken, items: shelf.items.length, servedBy: shelf.served_by,
  refused: refusal instanceof VitrinaError && refusal.status, detail: refusal.detail,
}))
"""


def generator() -> Any:
    spec = spec_from_file_location("generate", FOLDER / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_client_is_the_one_made_from_the_service() -> None:
    generate = generator()
    made = generate.client(generate.openapi())
    assert (FOLDER / "vitrina.ts").read_text("utf-8") == made, AGAIN


@pytest.mark.skipif(
    not (shutil.which("tsc") and shutil.which("node")), reason="no tsc: npm install -g typescript"
)
def test_it_is_well_typed_and_works(tmp_path: Path, registry: Registry) -> None:
    built = tmp_path / "built"
    checked = subprocess.run(
        ["tsc", "-p", str(FOLDER), "--outDir", str(built)], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout
    (built / "package.json").write_text('{"type": "module"}')
    (built / "program.js").write_text(PROGRAM)
    with serving(create_app(shop_settings(tmp_path))) as client:
        command = ["node", str(built / "program.js"), str(client.base_url)]
        said = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert said.returncode == 0, said.stderr
    told = json.loads(said.stdout)
    assert told["taken"]["accepted"] == 2
    assert told["items"] == 3
    assert told["servedBy"] == "learned"
    assert told["refused"] == 404
    assert "no item 'no such / item'" in told["detail"]
