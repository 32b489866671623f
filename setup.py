"""Builds the mcpsync distribution; the version lives in mcpsync/version.py alone."""

import runpy
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = runpy.run_path(str(HERE / "mcpsync" / "version.py"))["__version__"]

# Each lower bound has its reason; docs/dependencies.md says what a package is for.
INSTALL_REQUIRES = [
    "requests>=2.32.3",  # HTTPAdapter.get_connection_with_tls_context
    "urllib3>=2.6",  # pool_classes_by_scheme and the fixed decompression limits
    "sseclient-py>=1.8",  # decodes a character split between two chunks
    "pydantic>=2.12",  # what mcp-types asks for
    "mcp-types>=2.3,<3",
    "jsonschema>=4.23",  # validators.extend with a referencing registry
    "regex>=2024.4",  # search(timeout=)
    "cachetools>=5",  # TLRUCache
]
YAML = ["pyyaml>=6"]
PROMETHEUS = ["prometheus-client>=0.20"]
OTEL = ["opentelemetry-api>=1.27"]
WEBSOCKET = ["websocket-client>=1.8"]
REDIS = ["redis>=5"]
JWT = ["pyjwt>=2.9"]
CRYPTO = ["cryptography>=42", *JWT]
CLI = ["click>=8.1", "rich>=13", *YAML, *JWT]
TEST = [
    "pytest>=9",
    "responses>=0.25",
    "hypothesis>=6.100",
    "flask>=3",
    "django>=5.2",
    "greenlet>=3.1",
    *CLI,
    *PROMETHEUS,
    *OTEL,
    "opentelemetry-sdk>=1.27",
    *WEBSOCKET,
    *REDIS,
    *CRYPTO,
    "websockets>=15",
    "dnslib>=0.9.25",
]
LINT = [
    "ruff>=0.17,<0.18",
    "mypy>=2.4,<3",
    "types-requests",
    "types-PyYAML",
    "types-jsonschema",
    "types-regex",
    "types-cachetools",
    *PROMETHEUS,
    *OTEL,
    *WEBSOCKET,
    "redis>=6",
    *CRYPTO,
]

setup(
    name="mcpsync",
    version=VERSION,
    description="The blocking MCP client: many servers, many users, many threads, no event loop.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="mcpsync contributors",
    license="MIT",
    license_files=["LICENSE"],
    keywords=["mcp", "model context protocol", "client", "requests", "threads", "flask", "django"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Console",
        "Environment :: Web Environment",
        "Intended Audience :: Developers",
        "Operating System :: MacOS",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: Internet :: WWW/HTTP",
        "Topic :: Software Development :: Libraries :: Python Modules",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["mcpsync", "mcpsync.*"]),
    package_data={"mcpsync": ["py.typed"]},
    python_requires=">=3.11",
    install_requires=INSTALL_REQUIRES,
    extras_require={
        "yaml": YAML,
        "cli": CLI,
        "prometheus": PROMETHEUS,
        "otel": OTEL,
        "websocket": WEBSOCKET,
        "redis": REDIS,
        "crypto": CRYPTO,
        "all": [*CLI, *PROMETHEUS, *OTEL, *WEBSOCKET, *REDIS, *CRYPTO],
        "test": TEST,
        "lint": LINT,
    },
    entry_points={"console_scripts": ["mcpsync = mcpsync.cli.main:main"]},
    zip_safe=False,
)
