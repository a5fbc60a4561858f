"""Installs the zoo: one import name, `tfrec_zoo`, out of the folders at the root.

`trainers/` and `export/` stand beside the library, as programs do, and are installed inside it.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
PACKAGE_DIR = {
    "tfrec_zoo": "tfrec_zoo",
    "tfrec_zoo.trainers": "trainers",
    "tfrec_zoo.export": "export",
}
SERVING = ["tensorflow-serving-api==2.21.*"]
FAISS = ["faiss-cpu>=1.9,<2"]
MILVUS = ["pymilvus>=3,<4", "milvus-lite>=3.2,<4"]
KUBERNETES = ["kubernetes>=37,<38"]
BEAM = ["apache-beam>=2.77,<3"]
ONNX = ["tf2onnx>=1.17,<2", "onnxruntime>=1.20,<2"]
LITERT = ["ai-edge-litert>=2,<3"]
OPENVINO = ["openvino>=2026.1,<2027"]


def read_version() -> str:
    """Returns `__version__` of `tfrec_zoo/__init__.py`, read without importing it."""
    text = (ROOT / "tfrec_zoo" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE).group(1)


def list_packages() -> list[str]:
    """Returns the import names of all packages below the mapped folders."""
    packages = []
    for package, folder in PACKAGE_DIR.items():
        packages.append(package)
        packages += [f"{package}.{child}" for child in find_packages(str(ROOT / folder))]
    return packages


setup(
    name="tfrec-zoo",
    version=read_version(),
    description="A TensorFlow model zoo for recommenders: GRU4Rec, SSR and DLRM",
    license="Apache-2.0",
    packages=list_packages(),
    package_dir=PACKAGE_DIR,
    package_data={
        "tfrec_zoo": ["data/tables/specs/*.json"],
        "tfrec_zoo.trainers": ["recipes/*.json"],
        "tfrec_zoo.export": ["deploy/*"],
    },
    python_requires=">=3.10,<3.14",
    install_requires=[
        "tensorflow==2.21.*",
        "tf-keras==2.21.*",
        "tensorflow-recommenders==0.7.7",
        "tensorflow-datasets>=4.9.9,<5",
        "absl-py>=2.1",
        # tensorflow-datasets 4.9.10 needs it and does not declare it for current Pythons.
        "importlib_resources>=6",
        "numpy>=1.26",
        "pandas>=2.2",
        "psutil>=5.9",
        "pyarrow>=16",
        "tqdm>=4.66",
    ],
    extras_require={
        "beam": BEAM,
        "faiss": FAISS,
        "litert": LITERT,
        "milvus": MILVUS,
        "onnx": ONNX,
        "openvino": OPENVINO,
        "serving": SERVING,
        "test": [
            *(*SERVING, *BEAM, *FAISS, *MILVUS, *ONNX, *LITERT, *OPENVINO, *KUBERNETES),
            *("pytest>=8.3,<10", "pyyaml>=6,<7", "ruff>=0.17,<0.18"),
        ],
    },
    entry_points={
        "console_scripts": [
            "tfrec-prepare = tfrec_zoo.trainers.prepare:main",
            "tfrec-gru4rec = tfrec_zoo.trainers.gru4rec:main",
            "tfrec-ssr = tfrec_zoo.trainers.ssr:main",
            "tfrec-dlrm = tfrec_zoo.trainers.dlrm:main",
            "tfrec-evaluate = tfrec_zoo.trainers.evaluate:main",
            "tfrec-export = tfrec_zoo.export.main:main",
            "tfrec-index = tfrec_zoo.export.index:main",
            "tfrec-check = tfrec_zoo.export.check:main",
            "tfrec-launch = tfrec_zoo.trainers.launch:main",
        ]
    },
)
