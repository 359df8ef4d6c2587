"""Builds the CPU kernel: a plain shared library that needs neither torch nor a Python version."""

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

# Without -fno-math-errno gcc emits no packed square root. -ffp-contract=off gives the same bits
# on processors with and without fused multiply-add.
UNIX_FLAGS = [
    "-std=c++17",
    "-O3",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=off",
    "-fvisibility=hidden",
    "-g0",
]
HEADERS = ("numbers", "permuted", "quantised", "stretch", "tensors")
MSVC_FLAGS = ["/std:c++17", "/O2", "/fp:precise"]


class BuildLibrary(build_ext):
    """Builds a library for ctypes instead of a Python module."""

    def build_extension(self, ext: Extension) -> None:
        """Compile with the flags of the compiler."""
        ext.extra_compile_args = MSVC_FLAGS if self.compiler.compiler_type == "msvc" else UNIX_FLAGS
        super().build_extension(ext)

    def get_ext_filename(self, fullname: str) -> str:
        """Return the name of the file, without a Python version."""
        name = super().get_ext_filename(fullname)
        stem, suffix = name.split(".", 1)
        return f"{stem}.{suffix.rsplit('.', 1)[-1]}"

    def get_export_symbols(self, ext: Extension) -> list[str]:
        """Return nothing: the source itself marks what it exports, and there is no PyInit_."""
        return []


class TagWheel(bdist_wheel):
    """Tags the wheel for every Python 3."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return the tag of any Python 3 on this platform."""
        return "py3", "none", super().get_tag()[2]


setup(
    # optional: without a compiler the installation succeeds, and fused=True gives the reason
    ext_modules=[
        Extension(
            "dualadam.optim._kernels.libdualadam_cpu",
            ["src/dualadam/optim/_kernels/cpu.cpp"],
            depends=[f"src/dualadam/optim/_kernels/{name}.h" for name in HEADERS],
            language="c++",
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildLibrary, "bdist_wheel": TagWheel},
)
