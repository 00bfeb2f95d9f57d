"""Each place where a .pt2 archive can carry code: refused here, and run by torch itself.

An attack makes a folder, the canary. Every test shows three things: the driver's inspection and the
host's loader refuse the archive by name of entry and reason; no canary is there; and then, with the
very same file, that plain torch does make it. Where torch itself refuses, the attack says so.
"""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from carpool.errors import ModelUnsafe
from carpool.vision.torch.exported_program import load_exported_program
from carpool.vision.torch_export.inspection import inspect
from support.pt2_archives import (
    CONFIGS,
    PROGRAM,
    SAMPLE_INPUTS,
    Edit,
    Trap,
    any_batch,
    changed,
    entries,
    in_json,
    pickled_by_torch,
    save,
    tiny_detector,
)

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def harmless(tmp_path_factory) -> Path:
    return save(tiny_detector(), tmp_path_factory.mktemp("pt2") / "model.pt2", dynamic=any_batch())


@pytest.fixture
def canary(tmp_path) -> Path:
    return tmp_path / "canary"


def run_by_torch(path: Path) -> None:
    """What somebody does who trusts the file: load it, make a module, call it."""
    with warnings.catch_warnings(), suppress(Exception):
        warnings.simplefilter("ignore")
        torch.export.load(path).module()(torch.zeros(2, 3, 32, 32))


def refused(path: Path, reason: str, canary: Path) -> None:
    """By the driver, and by the host."""
    with pytest.raises(ModelUnsafe, match=reason), inspect(path):
        pass
    with pytest.raises(ModelUnsafe, match=reason):
        load_exported_program(path)
    assert not canary.exists()


def makes(canary: Path) -> str:
    """A Python expression that makes the canary."""
    return f"__import__('os').mkdir({str(canary)!r})"


def graph(document: Any) -> Any:
    return document["graph_module"]["graph"]


def own_call(document: Any) -> Any:
    return document["graph_module"]["module_call_graph"][0]["signature"]


def pickled_payload(config: str, folder: str) -> Callable[[Path], dict[str, Edit]]:
    """The first tensor of a config as a pickle."""

    def edits(canary: Path) -> dict[str, Edit]:
        def change(document: Any) -> None:
            next(iter(document["config"].values()))["use_pickle"] = True

        entry = {"data/weights/": "weight_0", "data/constants/": "tensor_0"}[folder]
        return {config: in_json(change), folder + entry: pickled_by_torch(Trap(canary))}

    return edits


def object_constant(entry: str, content: Callable[[Path], bytes]) -> Any:
    """A constant that is no tensor but an object in an entry of its own."""

    def edits(canary: Path) -> dict[str, Edit]:
        def change(document: Any) -> None:
            payload = next(iter(document["config"].values()))
            payload |= {"path_name": entry, "use_pickle": True, "tensor_meta": None}

        return {
            CONFIGS["constants"]: in_json(change),
            f"data/constants/{entry}": content(canary),
            "data/constants/tensor_0": None,
        }

    return edits


def in_program(change: Callable[[Any, Path], Any]) -> Callable[[Path], dict[str, Edit]]:
    return lambda canary: {PROGRAM: in_json(lambda document: change(document, canary))}


def size_expression(document: Any, canary: Path) -> None:
    size = graph(document)["tensor_values"]["images"]["sizes"][0]
    size["as_expr"]["expr_str"] = makes(canary)


def size_hidden_in_an_expression(document: Any, canary: Path) -> None:
    size = graph(document)["tensor_values"]["images"]["sizes"][0]
    size["as_expr"]["expr_str"] = f"Add(Integer(1), {makes(canary)} or Integer(1))"


def guard(document: Any, canary: Path) -> None:
    document["guards_code"] = [f"{makes(canary)} is None"]


def call_of_a_function(document: Any, canary: Path) -> None:
    node = graph(document)["nodes"][0]
    node |= {"target": "torch.os.mkdir"}
    node["inputs"] = [{"name": "", "arg": {"as_string": str(canary)}, "kind": 1}]


def call_that_opens_a_file(document: Any, canary: Path) -> None:
    """An operator like any other to torch, and it makes the file that it maps."""
    meta = json.loads(json.dumps(graph(document)["tensor_values"]["images"]))
    meta |= {"sizes": [{"as_int": 4}], "strides": [{"as_int": 1}]}
    graph(document)["tensor_values"]["mapped"] = meta
    arguments = {"filename": {"as_string": str(canary)}, "shared": {"as_bool": True}}
    arguments["size"] = {"as_int": 4}
    graph(document)["nodes"].append(
        {
            "target": "torch.ops.aten.from_file.default",
            "inputs": [{"name": n, "arg": a, "kind": 1} for n, a in arguments.items()],
            "outputs": [{"as_tensor": {"name": "mapped"}}],
            "metadata": {},
        }
    )


def name_of_an_input(document: Any, canary: Path) -> None:
    """Source for the default of a parameter of the generated function."""
    _rename(document, "images", f"images={makes(canary)}")


def name_of_an_argument(document: Any, canary: Path) -> None:
    own_call(document)["forward_arg_names"] = [f"images={makes(canary)}"]


def name_of_a_value(document: Any, canary: Path) -> None:
    """Source that begins a statement of its own, outside of the generated function."""
    old = graph(document)["nodes"][0]["outputs"][0]["as_tensor"]["name"]
    _rename(document, old, f"conv2d = 1\n{makes(canary)}\ndef forward(self, images):\n    a")


def _rename(document: Any, old: str, new: str) -> None:
    """Rename a value wherever the graph and its signature name it."""
    for part in ("graph", "signature"):
        text = json.dumps(document["graph_module"][part])
        text = text.replace(json.dumps(old), json.dumps(new))
        document["graph_module"][part] = json.loads(text)


def tree(spec: dict[str, Any]) -> str:
    leaf = {"type": None, "context": None, "children_spec": []}
    return json.dumps(
        [
            1,
            {
                "type": "builtins.tuple",
                "context": "null",
                "children_spec": [
                    {"type": "builtins.tuple", "context": "null", "children_spec": [leaf]},
                    {"children_spec": [], **spec},
                ],
            },
        ]
    )


def factory_of_a_defaultdict(document: Any, canary: Path) -> None:
    context = {
        "default_factory_module": _module_that_makes(canary),
        "default_factory_name": "factory",
        "dict_context": [],
    }
    own_call(document)["in_spec"] = tree({"type": "collections.defaultdict", "context": context})


def enum_among_keys(document: Any, canary: Path) -> None:
    key = {"__enum__": True, "fqn": f"{_module_that_makes(canary)}:Kind", "name": "A"}
    own_call(document)["in_spec"] = tree({"type": "builtins.dict", "context": json.dumps([key])})


def _module_that_makes(canary: Path) -> str:
    """A module beside the canary that makes it when it is imported; its folder is on sys.path."""
    name = f"canary_{abs(hash(str(canary)))}"
    (canary.parent / f"{name}.py").write_text(f"{makes(canary)}\nfactory = list\n")
    return name


@dataclass(frozen=True)
class Attack:
    name: str
    edits: Callable[[Path], dict[str, Edit]]
    reason: str
    torch_refuses: bool = False


ATTACKS = [
    Attack(
        "sample inputs",
        lambda canary: {SAMPLE_INPUTS: pickled_by_torch(((Trap(canary),), {}))},
        r"model\.pt2: data/sample_inputs/model\.pt: is a pickle that calls 'posix mkdir'",
    ),
    Attack(
        "pickled weight",
        pickled_payload(CONFIGS["weights"], "data/weights/"),
        r"model_weights_config\.json: config\['conv\.weight'\]\.use_pickle: its value is a pickle",
    ),
    Attack(
        "pickled constant",
        pickled_payload(CONFIGS["constants"], "data/constants/"),
        r"model_constants_config\.json: config\['moved'\]\.use_pickle: its value is a pickle",
    ),
    Attack(
        "opaque object",
        object_constant("opaque_obj_0", lambda canary: pickle.dumps(Trap(canary))),
        r"data/constants/opaque_obj_0: is a pickled Python object",
    ),
    Attack(
        # Torch reads it with its C++ unpickler, which makes objects of registered classes only.
        "custom object",
        object_constant("custom_obj_0", lambda canary: pickled_by_torch(Trap(canary))),
        r"data/constants/custom_obj_0: is a pickled object of a C\+\+ class",
        torch_refuses=True,
    ),
    Attack(
        "weights of torch before 2.9",
        lambda canary: {"data/weights/model.pt": pickled_by_torch({"w": Trap(canary)})},
        r"data/weights/model\.pt: is a pickle",
    ),
    Attack(
        "constants of torch before 2.9",
        lambda canary: {"data/constants/model.pt": pickled_by_torch({"w": Trap(canary)})},
        r"data/constants/model\.pt: is a pickle",
    ),
    Attack("size", in_program(size_expression), r"sizes\[0\]\.as_expr\.expr_str: found .*mkdir"),
    Attack(
        "size that begins well",
        in_program(size_hidden_in_an_expression),
        r"expr_str: found \"Add\(Integer\(1\)",
    ),
    Attack("guard", in_program(guard), r"guards_code\[0\]: found .*mkdir"),
    Attack(
        # Torch resolves it by getattr, and then its verifier wants an operator.
        "call target",
        in_program(call_of_a_function),
        r"graph\.nodes\[0\]\.target: calls 'torch\.os\.mkdir', which is not on the list",
        torch_refuses=True,
    ),
    Attack(
        "operator that opens a file",
        in_program(call_that_opens_a_file),
        r"target: calls 'torch\.ops\.aten\.from_file\.default', which is not on the list",
    ),
    Attack(
        "name of an input",
        in_program(name_of_an_input),
        r"models/model\.json: .*: found .*, expected an identifier",
    ),
    Attack(
        # Torch writes it into source twice, where this one is valid only once.
        "name of an argument",
        in_program(name_of_an_argument),
        r"forward_arg_names\[0\]: found .*, expected an identifier",
        torch_refuses=True,
    ),
    Attack(
        # Torch makes an identifier of it.
        "name of a value",
        in_program(name_of_a_value),
        r"models/model\.json: .*: found .*, expected an identifier",
        torch_refuses=True,
    ),
    Attack(
        "factory of a defaultdict",
        in_program(factory_of_a_defaultdict),
        r"in_spec: found type 'collections\.defaultdict'",
    ),
    Attack("enum among keys", in_program(enum_among_keys), r"in_spec: found keys .*__enum__"),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_code_in_an_archive_is_refused_before_it_runs(
    attack, harmless, canary, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    path = changed(harmless, tmp_path / "model.pt2", attack.edits(canary))
    refused(path, attack.reason, canary)
    run_by_torch(path)
    assert canary.exists() is not attack.torch_refuses


def test_the_layout_of_torch_before_2_8_is_refused_before_it_runs(harmless, canary, tmp_path):
    path = tmp_path / "old.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("version", "8.20")
        archive.writestr("serialized_exported_program.json", entries(harmless)[PROGRAM])
        archive.writestr("serialized_state_dict.pt", pickled_by_torch({"w": Trap(canary)}))
        archive.writestr("serialized_constants.pt", pickled_by_torch({}))
        archive.writestr("serialized_example_inputs.pt", pickled_by_torch(((), {})))
    refused(path, r"serialized_exported_program\.json: is the layout of torch before 2\.8", canary)
    run_by_torch(path)
    assert canary.exists()


def test_a_compiled_library_is_refused_before_it_is_loaded(harmless, canary, tmp_path):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source, library = tmp_path / "trap.c", tmp_path / "trap.so"
    source.write_text(
        "#include <sys/stat.h>\n"
        f'__attribute__((constructor)) void trap(void) {{ mkdir("{canary}", 0700); }}\n'
    )
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    folder = "data/aotinductor/model/"
    path = changed(
        harmless,
        tmp_path / "model.pt2",
        {
            f"{folder}trap.wrapper.so": library.read_bytes(),
            f"{folder}trap.wrapper_metadata.json": b'{"AOTI_DEVICE_KEY": "cpu"}',
        },
    )
    refused(path, r"data/aotinductor/model/trap\.wrapper\.so: is compiled code", canary)
    run_by_torch(path)
    assert canary.exists()


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("data/aotinductor/model/wrapper.cpp", "is compiled code of AOTInductor"),
        ("data/executorch/model.pte", "is a program of ExecuTorch"),
        # Torch loads every program of an archive, not only the one that is asked for.
        ("models/other.json", "is another program"),
        ("data/sample_inputs/other.pt", "is a pickle that belongs to no program"),
        ("data/weights/weight_99", "belongs to no tensor of the program"),
        ("code/model.py", "is no part of an exported program"),
        ("extra/../../model.py", "is no part of an exported program"),
        ("data\\weights\\weight_0", "is no part of an exported program"),
        ("/etc/passwd", "is no part of an exported program"),
    ],
)
def test_an_entry_that_is_not_known_is_refused(entry, reason, harmless, canary, tmp_path):
    refused(changed(harmless, tmp_path / "model.pt2", {entry: b"\0" * 8}), reason, canary)


def test_entries_outside_of_the_archives_folder_are_refused(harmless, canary, tmp_path):
    path = changed(harmless, tmp_path / "model.pt2", {})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../model.py", "")
    refused(path, r"\.\./model\.py: stands outside of the archive's folder", canary)


def test_an_entry_that_is_there_twice_is_refused(harmless, canary, tmp_path):
    path = changed(harmless, tmp_path / "model.pt2", {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(f"model/{SAMPLE_INPUTS}", pickled_by_torch((Trap(canary),)))
    refused(path, r"data/sample_inputs/model\.pt: is there twice", canary)


def test_a_compressed_entry_is_refused_so_there_are_no_zip_bombs(harmless, canary, tmp_path):
    path = changed(harmless, tmp_path / "model.pt2", {})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/extra/bomb", b"\0" * (64 << 20))
    refused(path, "extra/bomb: is compressed", canary)


def test_entries_that_overlap_are_refused(harmless, canary, tmp_path):
    path = changed(harmless, tmp_path / "model.pt2", {"extra/a": b"\0" * 100_000})
    with zipfile.ZipFile(path, "a") as archive:
        [original] = [i for i in archive.infolist() if i.filename.endswith("extra/a")]
        for number in range(20):
            copy = zipfile.ZipInfo(f"model/extra/copy{number}")
            for field in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(copy, field, getattr(original, field))
            archive.filelist.append(copy)
        archive._didModify = True
    refused(path, "its entries claim .* bytes, more than the file has", canary)


def test_an_encrypted_entry_is_refused(harmless, canary, tmp_path):
    path = changed(harmless, tmp_path / "model.pt2", {})
    with zipfile.ZipFile(path, "a") as archive:
        archive.infolist()[0].flag_bits |= 0x1
        archive._didModify = True
    refused(path, "is encrypted", canary)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: graph(d)["nodes"][0].update(target="torch.load"), "calls 'torch.load'"),
        (
            lambda d: graph(d)["nodes"][0].update(target="torch.ops.load_library"),
            "calls 'torch.ops.load_library'",
        ),
        (
            lambda d: graph(d)["nodes"][0].update(target="torch.ops.aten.from_file.default"),
            "calls 'torch.ops.aten.from_file.default'",
        ),
        (
            lambda d: graph(d)["nodes"][0].update(target="_operator.attrgetter"),
            "calls '_operator.attrgetter'",
        ),
        (lambda d: graph(d)["nodes"][0].update(target="#mine:op"), "calls '#mine:op'"),
        (
            lambda d: graph(d)["nodes"][0].update(target="torch.ops.higher_order.cond"),
            "calls 'torch.ops.higher_order.cond'",
        ),
        (
            lambda d: graph(d)["nodes"][0]["inputs"][0].update(
                arg={"as_operator": "torch.os.system"}
            ),
            "found 'as_operator'",
        ),
        (
            lambda d: graph(d)["nodes"][0]["inputs"][0].update(
                arg={"as_custom_obj": {"name": "a", "class_fqn": "b"}}
            ),
            "found 'as_custom_obj'",
        ),
        (
            lambda d: graph(d)["custom_obj_values"].update(a={"name": "a", "class_fqn": "b"}),
            "an object of a class",
        ),
        (
            lambda d: d["graph_module"]["signature"]["input_specs"].append(
                {"custom_obj": {"arg": {"name": "a", "class_fqn": "b"}, "custom_obj_name": "c"}}
            ),
            "found 'custom_obj'",
        ),
        (
            lambda d: d["graph_module"]["signature"]["input_specs"][0]["parameter"].update(
                parameter_name="__class__.forward"
            ),
            "expected the dotted name of a parameter",
        ),
        (lambda d: d.update(loader="mine.py"), "has a field 'loader'"),
        (lambda d: d["range_constraints"].update({"u99999999999": {}}), "the symbol of a size"),
    ],
)
def test_what_is_not_on_the_lists_is_refused(change, reason, harmless, canary, tmp_path):
    path = changed(harmless, tmp_path / "model.pt2", {PROGRAM: in_json(change)})
    refused(path, reason.replace("(", r"\("), canary)


def test_loading_opens_no_pickle_whatever_the_environment_says(harmless, monkeypatch):
    def opened(*_: Any, **__: Any) -> None:
        raise AssertionError("a pickle was opened")

    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads")):
        monkeypatch.setattr(module, name, opened)
    for name in ("Unpickler", "_Unpickler"):
        monkeypatch.setattr(pickle, name, opened)
    program = load_exported_program(harmless)
    boxes, scores = program.module()(torch.zeros(2, 3, 32, 32))
    assert boxes.shape == (2, 64, 4)
    assert scores.shape == (2, 64, 3)


def test_torchs_own_switch_would_have_opened_it(harmless, canary, tmp_path, monkeypatch):
    """Or the test above proves nothing about the environment variable."""
    path = tmp_path / "trap.pt"
    path.write_bytes(pickled_by_torch(Trap(canary)))
    monkeypatch.delenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", raising=False)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path)
    assert not canary.exists()
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.warns(UserWarning, match="forcing weights_only=False"):
        torch.load(path)
    assert canary.exists()


def test_a_text_argument_cannot_leave_its_quotes(harmless, canary, tmp_path):
    """Texts that operators take are written into generated source, as literals."""

    def change(document: Any) -> None:
        nodes = graph(document)["nodes"]
        [sigmoid] = [n for n in nodes if n["target"].endswith("sigmoid.default")][:1]
        sigmoid["target"] = "torch.ops.aten.gelu.default"
        text = f"'\"\n{makes(canary)}\n#"
        sigmoid["inputs"].append({"name": "approximate", "arg": {"as_string": text}, "kind": 2})

    path = changed(harmless, tmp_path / "model.pt2", {PROGRAM: in_json(change)})
    with pytest.raises(RuntimeError, match="approximate argument must be"):
        load_exported_program(path).module()(torch.zeros(2, 3, 32, 32))
    assert not canary.exists()


def test_importing_the_inspection_needs_no_torch():
    program = (
        "import sys, carpool.vision.torch_export.inspection, carpool.vision.torch_export.handler, "
        "carpool.vision.torch_export.resolve; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
