"""clang-tidy over C files, as many at once as there are processors.

usage: tidy.py PROGRAM ROOT BUILD CACHE FILE...

A file is looked at once for each way of compiling it that differs in more than the path of a folder: what several
tests share is not looked at several times. What was found clean is remembered in the folder CACHE by a hash of all
that clang-tidy would see (its version, its settings and flags, the file and everything it includes), and is not
looked at again. BUILD is a build of today's sources by Ninja, which knows what each file includes.

Exit code 1 when there is a finding.

SPDX-License-Identifier: Apache-2.0
"""
import concurrent.futures
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import time

ROOMS = "(base|migrations|events|bus|saga|server|cli|include|examples|tests)"
KEPT_DAYS = 60
# GCC's own flags are unknown to clang, or need a blessing.
EXTRA = [
    "--extra-arg=-Wno-unknown-warning-option",
    "--extra-arg=-Wno-ignored-optimization-argument",
    "--extra-arg=-enable-trivial-auto-var-init-zero-knowing-it-will-be-removed-from-clang",
]
# How many states of a function clang's analyzer goes through. It is nearly all the time that lint takes. What is
# delivered gets the analyzer's default (225,000); tests, which run under AddressSanitizer, a third of it.
DEPTH_OF_TESTS = ["-Xclang", "-analyzer-config", "-Xclang", "max-nodes=75000"]
NOISE = re.compile(r"warnings? generated|Suppressed|Use -header-filter")


class Lint:
    def __init__(self, program, root, build, cache):
        self.program, self.root, self.build, self.cache = program, root, build, cache
        self.hashes = {}
        version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        with open(os.path.join(root, ".clang-tidy"), encoding="utf-8") as settings, \
                open(__file__, encoding="utf-8") as rules:
            self.common = version + settings.read() + rules.read()
        self.includes = self.read_includes()

    def read_includes(self):
        """What Ninja knows: object -> the files it was made of."""
        text = subprocess.run(["ninja", "-C", self.build, "-t", "deps"], capture_output=True, text=True).stdout
        found, current = {}, None
        for line in text.splitlines():
            if line.startswith("    "):
                if current is not None:
                    current.append(os.path.normpath(os.path.join(self.build, line.strip())))
            elif ": #deps " in line:
                name, _, rest = line.partition(": #deps ")
                current = found.setdefault(name, []) if "(VALID)" in rest else None
        return found

    def jobs(self, files):
        """(file, flags, object) of each way of compiling that differs."""
        with open(os.path.join(self.build, "compile_commands.json"), encoding="utf-8") as commands:
            entries = json.load(commands)
        wanted = {os.path.join(self.root, name) for name in files}
        seen, jobs = set(), []
        for entry in entries:
            if entry["file"] not in wanted:
                continue
            words = shlex.split(entry["command"])[1:]
            at = words.index("-o")
            target = words[at + 1]
            flags = [word for word in words[:at] + words[at + 2:] if word not in ("-c", entry["file"])]
            told = tuple(word for word in flags if not word.startswith("-I") and not re.match(r'-D\w+="', word))
            if (entry["file"], told) not in seen:
                seen.add((entry["file"], told))
                jobs.append((entry["file"], flags, target))
        return sorted(jobs, key=lambda job: -os.path.getsize(job[0]))  # the long ones first

    def hash_of(self, path):
        if path not in self.hashes:
            with open(path, "rb") as file:
                self.hashes[path] = hashlib.sha256(file.read()).hexdigest()
        return self.hashes[path]

    def key(self, flags, target):
        """None when it is not known what the file includes."""
        paths = self.includes.get(target)
        if not paths:
            return None
        lines = [self.common, " ".join(flags)] + [f"{path} {self.hash_of(path)}" for path in paths]
        return hashlib.sha256("\n".join(lines).replace(self.root + "/", "").encode()).hexdigest()

    def look(self, job):
        """(clean, what it says, whether it was known)."""
        path, flags, target = job
        key = self.key(flags, target)
        mark = key and os.path.join(self.cache, key)
        if mark and os.path.exists(mark):
            os.utime(mark)
            return True, "", True
        if path.startswith(self.root + "/tests/"):
            flags = flags + DEPTH_OF_TESTS
        rooms = f"--header-filter=^{re.escape(self.root)}/{ROOMS}/"
        # One file a process: version 14's va_list check carries state from one file into the next.
        run = subprocess.run([self.program, "--quiet", rooms, *EXTRA, path, "--", *flags], capture_output=True,
                             text=True, cwd=self.root)
        said = run.stdout + "".join(line + "\n" for line in run.stderr.splitlines() if not NOISE.search(line))
        if mark and run.returncode == 0 and not said.strip():
            with open(mark, "w", encoding="utf-8"):
                pass
        return run.returncode == 0, said, False


def forget_old(cache):
    for entry in os.scandir(cache):
        if time.time() - entry.stat().st_mtime > KEPT_DAYS * 86400:
            os.unlink(entry.path)


def main(arguments):
    program, root, build, cache = arguments[:4]
    os.makedirs(cache, exist_ok=True)
    forget_old(cache)
    lint = Lint(program, root, build, cache)
    jobs = lint.jobs(arguments[4:])
    clean, known, began = True, 0, time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        for good, said, was_known in pool.map(lint.look, jobs):
            clean = clean and good
            known += was_known
            print(said, end="", flush=True)
    print(f"dev: clang-tidy over {len(jobs)} files, {known} of them found clean before, "
          f"in {time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0 if clean else 1


sys.exit(main(sys.argv[1:]))
