"""Signal equations and tissue contrasts against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from brainmvp_lightning.phantom.sequences import (
    DiffusionEcho,
    GradientEcho,
    InversionEcho,
    Mprage,
    Sequence,
    SpinEcho,
    draw_protocols,
)
from brainmvp_lightning.phantom.tissues import (
    CLASSES,
    INDEX,
    Tissues,
    personal_tissues,
    typical_tissues,
)


def one_tissue(
    t1_ms: float, t2_ms: float, diffusion: float = 0.0, gadolinium: float = 0.0
) -> Tissues:
    values = [np.array([float(v)]) for v in (t1_ms, t2_ms, 0.8, diffusion, gadolinium)]
    return Tissues(*values)


def signal(sequence: Sequence, tissues: Tissues) -> float:
    return float(sequence.signal(tissues)[0])


def test_spin_echo_recovers_by_t1_and_decays_by_t2() -> None:
    # TR = T1 and TE = T2: 0.8 x (1 - 1/e) x 1/e
    assert signal(SpinEcho(1000, 100), one_tissue(1000, 100)) == pytest.approx(0.8 * 0.23254, 1e-4)


def test_inversion_at_ln2_of_t1_nulls_the_signal() -> None:
    sequence = InversionEcho(tr_ms=1e6, te_ms=0, ti_ms=1000 * math.log(2))
    assert signal(sequence, one_tissue(1000, 100)) == pytest.approx(0, abs=1e-12)


def test_mprage_nulls_where_recovery_crosses_zero() -> None:
    # TR = T1: zero at TI = T1 ln(2 / (1 + 1/e)) = 0.37989 T1
    sequence = Mprage(tr_ms=1000, te_ms=0, ti_ms=379.89)
    assert signal(sequence, one_tissue(1000, 100)) == pytest.approx(0, abs=1e-4)


def test_gradient_echo_at_90_degrees_is_saturation_recovery() -> None:
    # 0.8 x (1 - 1/e)
    sequence = GradientEcho(tr_ms=1000, te_ms=0, flip_degrees=90)
    assert signal(sequence, one_tissue(1000, 100)) == pytest.approx(0.8 * 0.63212, 1e-4)


def test_gradient_echo_peaks_at_the_ernst_angle() -> None:
    ernst = math.degrees(math.acos(math.exp(-10 / 1000)))  # 8.07 degrees
    signals = [
        signal(GradientEcho(10, 0, ernst + offset), one_tissue(1000, 100)) for offset in (-1, 0, 1)
    ]
    assert signals[1] == max(signals)


def test_diffusion_of_ln2_halves_the_signal_at_b_1000() -> None:
    still, moving = one_tissue(1000, 100), one_tissue(1000, 100, diffusion=math.log(2))
    sequence = DiffusionEcho(1e6, 0, 1000)
    assert signal(sequence, moving) == pytest.approx(signal(sequence, still) / 2)


def test_gadolinium_shortens_t1() -> None:
    # 1 / (1/1000 + 4.5e-3 x 1 mM) = 181.8 ms
    enhanced = one_tissue(1000, 100, gadolinium=1.0).enhanced()
    assert enhanced.t1_ms[0] == pytest.approx(181.82, 1e-4)


def test_grey_to_white_ratio_of_t2_by_hand() -> None:
    # 3 T, TR 4800, TE 96; grey 1400/98/0.82, white 830/75/0.71:
    # 0.82 x 0.96756 x 0.37546 / (0.71 x 0.99693 x 0.27804) = 0.29789 / 0.19680
    signals = SpinEcho(4800, 96).signal(typical_tissues(3.0))
    assert signals[INDEX["gm"]] / signals[INDEX["wm"]] == pytest.approx(1.5137, 1e-3)


class Middle(np.random.Generator):
    """Draws the middle of every range."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def uniform(self, low: float, high: float) -> float:  # type: ignore[override]
        return (low + high) / 2


# Shares of grey, white and water in typical grey, white and ventricle voxels of 1 to 2 mm.
VOXELS = {"gm": (0.86, 0.10, 0.04), "wm": (0.10, 0.90, 0.0), "csf": (0.10, 0.05, 0.85)}


def ratio(modality: str, field_tesla: float, voxel: str) -> float:
    sequence = draw_protocols(field_tesla, "mprage", Middle())[modality]
    signals = sequence.signal(typical_tissues(field_tesla))
    pure = signals[[INDEX["gm"], INDEX["wm"], INDEX["csf"]]]
    return float(pure @ np.array(VOXELS[voxel]) / (pure @ np.array(VOXELS["wm"])))


@pytest.mark.parametrize("field_tesla", [1.5, 3.0])
@pytest.mark.parametrize(
    ("modality", "lowest", "highest"),
    [("t1", 0.65, 0.72), ("t2", 1.41, 1.56), ("flair", 1.09, 1.14), ("pd", 1.1, 1.22)],
)
def test_grey_to_white_contrast_is_that_of_real_scans(
    modality: str, lowest: float, highest: float, field_tesla: float
) -> None:
    assert lowest <= ratio(modality, field_tesla, "gm") <= highest


@pytest.mark.parametrize("field_tesla", [1.5, 3.0])
def test_water_is_dark_on_t1_and_flair_and_bright_on_t2(field_tesla: float) -> None:
    assert ratio("t1", field_tesla, "csf") < 0.36
    assert ratio("flair", field_tesla, "csf") < 0.36
    assert ratio("t2", field_tesla, "csf") > 2.3


@pytest.mark.parametrize("field_tesla", [1.5, 3.0])
def test_lesions_stand_out_where_radiologists_look_for_them(field_tesla: float) -> None:
    protocols = draw_protocols(field_tesla, "mprage", Middle())
    tissues = typical_tissues(field_tesla)
    white = INDEX["wm"]

    def relative(modality: str, name: str, tissues: Tissues = tissues) -> float:
        signals = protocols[modality].signal(tissues)
        return float(signals[INDEX[name]] / signals[white])

    assert relative("t1ce", "enhancing", tissues.enhanced()) > 1.5
    assert relative("t1", "enhancing") < 0.8
    assert relative("flair", "oedema") > 1.5
    assert relative("dwi", "infarct") > 2
    assert tissues.diffusion[INDEX["infarct"]] < 0.7 * tissues.diffusion[white]
    assert relative("t1ce", "schwannoma", tissues.enhanced()) > 1.5


def test_people_differ_by_a_few_percent() -> None:
    typical = typical_tissues(3.0)
    person = personal_tissues(3.0, np.random.default_rng(0))
    deviation = person.t1_ms / typical.t1_ms - 1
    assert 0.01 < deviation.std() < 0.05
    assert np.abs(deviation).max() <= 0.075 + 1e-9
    assert len(deviation) == len(CLASSES)


def test_unknown_field_strength_is_refused() -> None:
    with pytest.raises(ValueError, match=r"1\.5 and 3\.0 T, not at 7"):
        typical_tissues(7.0)
