"""Losses with known minima, saddles, barriers and Hessians."""

from dualadam.diffusion.landscapes.asymmetric_wells import AsymmetricWells
from dualadam.diffusion.landscapes.double_well import DoubleWell
from dualadam.diffusion.landscapes.landscape import Landscape, Points
from dualadam.diffusion.landscapes.spectrum_well import SpectrumWell
from dualadam.diffusion.landscapes.styblinski_tang import StyblinskiTang

__all__ = [
    "AsymmetricWells",
    "DoubleWell",
    "Landscape",
    "Points",
    "SpectrumWell",
    "StyblinskiTang",
]
