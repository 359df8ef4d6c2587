"""Builds the CPU kernel: a plain shared library behind a C interface, which knows neither torch nor this Python's version."""

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

# -fno-math-errno: without it gcc emits no packed square root. -ffp-contract=off: the same bits with and without fused multiply-add.
UNIX_FLAGS = [
    "-std=c++17",
    "-O3",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=off",
    "-fvisibility=hidden",
    "-g0",
]
MSVC_FLAGS = ["/std:c++17", "/O2", "/fp:precise"]


class BuildLibrary(build_ext):
    """Builds a library that ctypes loads, not a Python module."""

    def build_extension(self, ext: Extension) -> None:
        """Compile with the flags of the compiler at hand."""
        ext.extra_compile_args = MSVC_FLAGS if self.compiler.compiler_type == "msvc" else UNIX_FLAGS
        super().build_extension(ext)

    def get_ext_filename(self, fullname: str) -> str:
        """Name the file without a Python version."""
        name = super().get_ext_filename(fullname)
        stem, suffix = name.split(".", 1)
        return f"{stem}.{suffix.rsplit('.', 1)[-1]}"

    def get_export_symbols(self, ext: Extension) -> list[str]:
        """No PyInit_: the source says itself what it exports."""
        return []


class TagWheel(bdist_wheel):
    """The library suits every Python 3."""

    def get_tag(self) -> tuple[str, str, str]:
        """Any Python 3 on this platform."""
        return "py3", "none", super().get_tag()[2]


setup(
    # optional: without a compiler the installation succeeds, and fused=True says why it is missing
    ext_modules=[
        Extension(
            "dualadam.optim._kernels.libdualadam_cpu",
            ["src/dualadam/optim/_kernels/cpu.cpp"],
            language="c++",
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildLibrary, "bdist_wheel": TagWheel},
)
