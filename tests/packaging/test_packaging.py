"""compose.yaml and the Dockerfile, checked without a container engine.

What is checked: the compose file against a schema of the part of the format that it uses, and the links
inside it (dependencies have the health checks they wait for, volumes are declared, every host port can be
set); the Dockerfile's build steps against what `./dev build release` and `./dev setup` run; and that both ask
sagabus only for commands and settings that it has. What is NOT checked, because it takes an engine: that the
images can be pulled, that the build in the image ends well, that the services start.

SPDX-License-Identifier: Apache-2.0
"""
import copy
import json
import pathlib
import re
import sys
import unittest

import jsonschema
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]


def text(path):
    return (ROOT / path).read_text(encoding="utf-8")


class Compose(unittest.TestCase):
    def setUp(self):
        self.compose = yaml.safe_load(text("compose.yaml"))
        self.services = self.compose["services"]
        schema = json.loads(text("tests/packaging/compose.schema.json"))
        jsonschema.Draft202012Validator.check_schema(schema)
        self.validator = jsonschema.Draft202012Validator(schema)

    def test_follows_the_schema(self):
        faults = [f"/{'/'.join(map(str, e.absolute_path))}: {e.message}" for e in self.validator.iter_errors(self.compose)]
        self.assertEqual(faults, [])

    def test_the_schema_refuses_what_is_wrong(self):
        def refused(change):
            broken = copy.deepcopy(self.compose)
            change(broken["services"])
            return not self.validator.is_valid(broken)

        self.assertTrue(refused(lambda s: s["kafka"].update(enviroment={})))
        self.assertTrue(refused(lambda s: s["kafka"].pop("healthcheck")))
        self.assertTrue(refused(lambda s: s["kafka"].update(ports=["9092:9092"])))
        self.assertTrue(refused(lambda s: s["kafka"]["environment"].update(KAFKA_NODE_ID=1)))
        self.assertTrue(refused(lambda s: s["kafka"].update(image="apache/kafka")))
        self.assertTrue(refused(lambda s: s["sagabus"]["depends_on"]["kafka"].update(condition="healthy")))
        self.assertTrue(refused(lambda s: s["postgres"]["healthcheck"].update(interval="5")))

    def test_a_dependency_can_become_what_is_waited_for(self):
        for name, service in self.services.items():
            for other, wait in service.get("depends_on", {}).items():
                self.assertIn(other, self.services, name)
                disabled = self.services[other]["healthcheck"].get("disable", False)
                if wait["condition"] == "service_healthy":
                    self.assertFalse(disabled, f"{name} waits for the health of {other}, which has no check")
                if wait["condition"] == "service_completed_successfully":
                    self.assertNotIn("restart", self.services[other], f"{other} must end for {name}")
                # A service outside of profiles cannot wait for one that is only there in a profile.
                if "profiles" not in service:
                    self.assertNotIn("profiles", self.services[other])

    def test_volumes_are_declared_and_used(self):
        used = {v.split(":")[0] for s in self.services.values() for v in s.get("volumes", [])}
        self.assertEqual(used, set(self.compose["volumes"]))

    def test_host_ports_differ(self):
        ports = [re.search(r"\{(\w+):-(\d+)\}", p).groups() for s in self.services.values() for p in s.get("ports", [])]
        self.assertEqual(len({name for name, _ in ports}), len(ports))
        self.assertEqual(len({number for _, number in ports}), len(ports))

    def test_versions_are_those_of_dev(self):
        version = re.search(r"^kafka_version=(\S+)$", text("tools/dev/kafka.sh"), re.M).group(1)
        self.assertEqual(self.services["kafka"]["image"], f"apache/kafka:{version}")
        self.assertIn(f"<version>{version}</version>", text("tools/dev/kafka-pom.xml"))

    def test_the_cluster_id_is_one(self):
        cluster = re.search(r":-(\S+)\}", self.services["kafka"]["environment"]["CLUSTER_ID"]).group(1)
        self.assertRegex(cluster, r"^[A-Za-z0-9_-]{21}[AQgw]$")  # 16 bytes, URL-safe base64 without padding

    def test_settings_are_known_to_sagabus(self):
        source = text("base/config.c")
        known = {"SAGABUS_" + n.upper().replace(".", "_") for n in re.findall(r'^    \{"([a-z_.]+)", "', source, re.M)}
        known |= set(re.findall(r'"(SAGABUS_[A-Z_]+)"', source))
        given = {n for s in self.services.values() for n in s["environment"] if n.startswith("SAGABUS_")}
        given |= set(re.findall(r"^ENV (SAGABUS_\w+)=", text("Dockerfile"), re.M))
        self.assertEqual(given - known, set())


class Dockerfile(unittest.TestCase):
    def setUp(self):
        joined = text("Dockerfile").replace("\\\n", " ")
        lines = [line.strip() for line in joined.splitlines() if line.strip() and not line.startswith("#")]
        self.steps = [tuple(line.split(None, 1)) for line in lines]
        last = max(i for i, (word, _) in enumerate(self.steps) if word == "FROM")
        self.build, self.final = self.steps[:last], self.steps[last:]

    def runs(self, steps):
        return [rest for word, rest in steps if word == "RUN"]

    def test_builds_by_the_commands_of_dev(self):
        commands = [run for run in self.runs(self.build) if run.startswith("cmake ")]
        self.assertEqual(commands, ["cmake --preset release", "cmake --build --preset release"])
        dev = text("tools/dev/build.sh")
        for command in commands:
            self.assertIn(command.replace("release", '"$1"'), dev)
        self.assertIn('-j "$(nproc', dev)  # the one difference: Ninja takes all cores by itself

    def test_installs_the_packages_of_dev(self):
        installed = set(re.search(r"--no-install-recommends (.*?) &&", self.runs(self.build)[0]).group(1).split())
        dev = set(re.findall(r"^    need_(?:program|library) \S+ (\S+)$", text("tools/dev/packages.sh"), re.M))
        self.assertEqual(installed, (dev | {"build-essential"}) - {"python3", "util-linux"})

    def test_copies_only_what_the_context_has(self):
        kept = {line[1:].rstrip("/") for line in text(".dockerignore").splitlines() if line.startswith("!")}
        for word, rest in self.final:
            if word == "COPY" and "--from" not in rest:
                self.assertIn(rest.split()[0].rstrip("/"), kept)
        for name in re.findall(r"^add_subdirectory\((\w+)\)|^include\((\w+)\)", text("CMakeLists.txt"), re.M):
            if name[0]:
                self.assertIn(name[0], kept)

    def test_runs_without_root_and_stops_in_order(self):
        words = [word for word, _ in self.final]
        self.assertRegex(dict(self.final)["USER"], r"^[1-9]\d*$")
        self.assertEqual(dict(self.final)["STOPSIGNAL"], "SIGTERM")
        self.assertIn("HEALTHCHECK", words)
        self.assertNotIn("RUN", words[words.index("USER"):])

    def test_asks_the_same_health_as_compose(self):
        command = json.loads(re.search(r"CMD (\[.*\])", dict(self.final)["HEALTHCHECK"]).group(1))
        compose = yaml.safe_load(text("compose.yaml"))["services"]["sagabus"]["healthcheck"]["test"]
        self.assertEqual(["CMD"] + command, compose)


if __name__ == "__main__":
    sys.exit(0 if unittest.main(exit=False).result.wasSuccessful() else 1)
