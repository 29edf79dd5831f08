"""Register: which plug-ins are known, and which of them has which symbol. A symbol has one owner."""

from collections.abc import Collection, Sequence

from opq_plugins.package.package_manifest import PackageManifest
from opq_proto.errors import PluginError


class Register:
    """Read by any thread, changed by one at a time. `manifests`: by name, of current versions."""

    def __init__(self) -> None:
        self.manifests: dict[str, PackageManifest] = {}
        self._owners: dict[tuple[str, str], str] = {}

    def put(self, manifest: PackageManifest) -> None:
        """New, or another version."""
        others = {symbol: owner for symbol, owner in self._owners.items() if owner != manifest.name}
        self._owners = others | dict.fromkeys(manifest.symbols, manifest.name)
        self.manifests[manifest.name] = manifest

    def drop(self, name: str) -> None:
        self.manifests.pop(name, None)
        self._owners = {symbol: owner for symbol, owner in self._owners.items() if owner != name}

    def owner(self, kind: str, symbol: str) -> str | None:
        """The plug-in that has it."""
        return self._owners.get((kind, symbol))

    def function(self, name: str) -> tuple[str, str] | None:
        """Owner and symbol of a function of this SQL name (any case)."""
        for (kind, symbol), owner in self._owners.items():
            if kind == "function" and symbol.casefold() == name.casefold():
                return owner, symbol
        return None

    def symbols(self, kind: str) -> dict[str, str]:
        """Symbol -> its owner, by name."""
        return {symbol: owner for (its, symbol), owner in sorted(self._owners.items()) if its == kind}

    def check(
        self,
        kind: str,
        manifest: PackageManifest,
        functions: Sequence[str],
        reserved: Collection[tuple[str, str]],
    ) -> None:
        """PluginError: it lacks what was asked for, or has what is another's. `kind` "portable": any."""
        if kind != "portable" and not manifest.of_kind(kind):
            has = ", ".join(f"{its} {symbol}" for its, symbol in manifest.symbols)
            raise PluginError(f"{manifest.name} has no {kind}; its symbols: {has}")
        missing = sorted(set(functions) - set(manifest.of_kind("function")))
        if missing:
            raise PluginError(f"{manifest.name} has no function {', '.join(missing)}")
        for its, symbol in manifest.symbols:
            if (its, symbol) in reserved:
                raise PluginError(f"{its} {symbol!r} is built in; give yours another name")
            owner = self._owners.get((its, symbol), manifest.name)
            if its == "function":  # SQL calls it in any case
                owner, _ = self.function(symbol) or (owner, symbol)
            if owner != manifest.name:
                raise PluginError(f"{its} {symbol!r} is of plug-in {owner!r} already")
