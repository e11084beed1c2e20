"""Settings of a systolic array, as they stand in the configuration, and the model's array and energies from them."""

from dataclasses import dataclass

from stages.lib.costs.memory import dram_energy_fj_per_byte, sram_energy
from stages.lib.costs.systolic import OPERANDS, ArrayEnergy, SystolicArray


@dataclass(frozen=True, kw_only=True)
class SystolicConfig:
    """A systolic array and its memories: what `estimate_systolic` asks of a layer table. Sizes as in a small TPU."""

    rows: int = 128  # MACs along k (weight and input stationary) or along m (output stationary)
    columns: int = 128  # MACs along the other side
    # every one of them is estimated: weight_stationary, output_stationary, input_stationary
    dataflows: tuple[str, ...] = ("weight_stationary", "output_stationary", "input_stationary")
    double_buffered: bool = False  # the next tile's stationary operand is loaded while this tile computes
    # what streams past held tiles is cut into parts that fit into SRAM: less DRAM traffic, more cycles
    split_streams: bool = False
    frequency_ghz: float = 1.9  # clock of the array and its SRAMs (HALO's slowest level, second-hand)
    activation_sram_bytes: int = 6 * 2**20  # capacity, bytes
    weight_sram_bytes: int = 6 * 2**20  # capacity, bytes
    output_sram_bytes: int = 2 * 2**20  # capacity for outputs and partial sums, bytes
    activation_bytes_per_cycle: float = 128.0  # of the activation SRAM, bytes
    weight_bytes_per_cycle: float = 128.0  # of the weight SRAM, bytes
    output_bytes_per_cycle: float = 1024.0  # of the output SRAM, reads and writes together, bytes
    dram: str = "LPDDR4"  # DRAM whose energy is taken: LPDDR4, HBM2 or DDR4
    dram_gb_s: float = 25.6  # reads and writes together, GB/s
    technology_nm: int = 45  # of the SRAMs' energy: 45 or 22 nm
    mac_fj: float = 560.8  # of one int8 MAC, fJ (Accelergy, 45 nm, as printed by Sparseloop's artifact)
    static_mw: float = 0.0  # power of everything while a layer runs, mW; 0 leaves it out

    def __post_init__(self) -> None:
        for key in ("rows", "columns"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} is {getattr(self, key)}: choose 1 or more")
        for key, value in vars(self).items():
            if key.endswith(("_ghz", "_bytes", "_per_cycle", "_gb_s")) and not value > 0:
                raise ValueError(f"{key} is {value}: choose more than 0")
            if key.endswith(("_fj", "_mw")) and not value >= 0:
                raise ValueError(f"{key} is {value}: choose 0 or more")
        known = SystolicConfig.dataflows
        if not self.dataflows or set(self.dataflows) - set(known):
            raise ValueError(f"dataflows is {list(self.dataflows)}: choose from {', '.join(known)}")


def array_of(config: SystolicConfig) -> tuple[SystolicArray, ArrayEnergy]:
    """The model's array and unit energies; an SRAM's byte costs the mean of reading and writing it."""
    names = [name for name in SystolicArray.__dataclass_fields__ if hasattr(config, name)]
    array = SystolicArray(**{name: getattr(config, name) for name in names})
    srams = {
        name: sram_energy(getattr(config, f"{name}_sram_bytes"), technology_nm=config.technology_nm)
        for name in OPERANDS
    }
    energy = ArrayEnergy(
        mac_fj=config.mac_fj,
        dram_fj_per_byte=dram_energy_fj_per_byte(config.dram),
        static_mw=config.static_mw,
        **{
            f"{name}_sram_fj_per_byte": (sram.read_fj_per_byte + sram.write_fj_per_byte) / 2
            for name, sram in srams.items()
        },
    )
    return array, energy
