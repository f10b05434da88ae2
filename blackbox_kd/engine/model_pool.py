"""Models by the names that steps use, versions included: `teacher`, `student`, `student@base`, `student@1`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from blackbox_kd import models
from blackbox_kd.engine.descriptors import count_connections
from blackbox_kd.engine.versions import Versions
from blackbox_kd.errors import StepError
from blackbox_kd.models import Model, ModelConfig, Setup, WeightsConfig
from blackbox_kd.recipe.spec import Recipe
from blackbox_kd.schema import BASE, ModelRef


class ModelPool:
    """Opens models when they are first asked, in the versions that training has made.

    Args:
        recipe: where the models are configured.
        cache: the user's cache folder.
        env: where keys are looked up.
    """

    def __init__(self, recipe: Recipe, cache: Path, env: Mapping[str, str]) -> None:
        self._recipe = recipe
        self._lead: ModelPool | None = None
        self._cache = cache
        self._env = env
        self._open: dict[str, Model] = {}
        self._branches: list[Self] = []
        self.versions = Versions()
        self._most = count_connections(sum(not config.local for config in recipe.models.values()))

    def branch(self, variant: Recipe) -> Self:
        """The models of a variant of the recipe: those that are the same are opened once."""
        other = type(self)(variant, self._cache, self._env)
        other._lead = self
        self._branches.append(other)
        return other

    def describe_narrowed(self) -> str:
        """What is said of models that are asked less at once than they may, for want of connections; or nothing."""
        narrowed = [name for name, config in self._recipe.models.items() if self._narrow(config) is not config]
        what = f"at most {self._most} requests at once, as this process can open few files; raise ulimit -n for more"
        return f"{', '.join(narrowed)}: {what}" if narrowed else ""

    def _narrow(self, config: ModelConfig) -> ModelConfig:
        if config.local or self._most is None or config.max_concurrency <= self._most:
            return config
        return config.model_copy(update={"max_concurrency": self._most})

    def exact(self, name: str) -> str:
        """A name with its version: `student` after two trainings is `student@2`; `teacher` stays `teacher`."""
        return self.versions.complete(name)

    def config(self, name: str) -> ModelConfig:
        """The config of a version: the recipe's, with the trained adapter or weights in it.

        Raises:
            StepError: no training has made that version yet.
        """
        ref = ModelRef.parse(self.exact(name))
        config = self._narrow(self._recipe.models[ref.name])
        if ref.version in ("", BASE):
            return config
        assert isinstance(config, WeightsConfig), "only what has weights has been trained"
        return config.version_in(self.versions.find(ref).folder.resolve())

    def weights(self, name: str) -> WeightsConfig:
        """The config of a version that is to be trained on.

        Raises:
            StepError: its provider has no weights, or see `config`.
        """
        config = self.config(name)
        if not isinstance(config, WeightsConfig):
            raise StepError(f"model {name!r} cannot be trained: provider {config.provider!r} has no weights to train")
        return config

    def setup(self, name: str) -> Setup:
        """What a provider is given besides the config."""
        recipe = self._recipe
        return Setup(name, recipe.folder, self._cache, self._env, recipe.allow_code, recipe.head.seed)

    def get(self, name: str) -> Model:
        """The open model of a name; see `find`."""
        return self.find(name)[1]

    def find(self, name: str) -> tuple[str, Model]:
        """A name with its version, and the open model.

        Raises:
            SetupError: a key, a package or the weights are missing.
        """
        exact = self.versions.complete(name)
        if self._lead is not None and self._lead.has(exact, self.config(exact)):
            ref = ModelRef.parse(exact)
            return self._lead.find(str(ref if ref.version else ref.base))
        if exact not in self._open:
            config = self.config(exact)
            self._open[exact] = models.provider(config.provider).open_model(config, self.setup(exact))
        return exact + self._recipe.suffix, self._open[exact]

    def has(self, exact: str, config: ModelConfig) -> bool:
        """Whether a name with its version means the model of a config here, too."""
        ref = ModelRef.parse(exact)
        try:
            return self.config(str(ref if ref.version else ref.base)) == config
        except StepError:
            return False

    def identity(self, name: str) -> str:
        """What names a version in fingerprints: the hash of its weights, or how its endpoint is reached."""
        return self.config(name).identity(self.setup(name))

    async def release_local(self) -> None:
        """Closes the models that hold weights in this process: training is about to need the memory."""
        for name in [name for name, model in self._open.items() if model.config.local]:
            await self._open.pop(name).close()
        if self._lead is not None:
            await self._lead.release_local()

    async def close(self) -> None:
        """Closes all models, those of variants too."""
        for other in self._branches:
            await other.close()
        for name in list(self._open):
            await self._open.pop(name).close()
