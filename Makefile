# make demo    venv + dependencies, then corpus -> vocabulary -> shards -> training -> samples, on the shipped book
# make check   style, types, imports and the fast tests, in the same venv: while you work (under 90 s on two cores)
# make test    the same checks and all tests (under 6 minutes on two cores)
# make gpu     what needs an NVIDIA card: the tests in tests/gpu and both speed benchmarks (under 10 minutes on one card)
# make faults  everything done to a run that docs/reliability.md lists, with 200 kills (about 20 minutes)
# make faults-demo   the demo's run under 20 kills against the one left alone (about half an hour)
# make fuzz    all scripts over harmed files and command lines, some 15,000 cases (half an hour)
# make test-hosts   two machines as network namespaces, one of which is cut off (needs root; part of make test where it may)
# make lint    put the style right
# make clean   remove what the demo made (never your own models)

PYTHON ?= python3
ifeq ($(OS),Windows_NT)
  BIN := .venv/Scripts
else
  BIN := .venv/bin
endif
PY := $(BIN)/python

.PHONY: demo check rules test gpu faults faults-demo fuzz test-hosts lint clean

demo: .venv/installed
	@echo "== 1/4 词表 / vocabulary"
	$(PY) cache/make_vocab.py --type char --raw_data_path data/example.json --vocab_file cache/vocab_demo.txt
	@echo "== 2/4 分片与训练 / shards and training"
	$(PY) train.py --model_config config/model_config_demo.json --tokenizer_path cache/vocab_demo.txt \
	  --raw_data_path data/example.json --tokenized_data_path data/tokenized_demo/ --raw --num_pieces 4 \
	  --epochs 16 --batch_size 64 --lr 3e-3 --weight_decay 1 --label_smoothing 0.1 --input_noise 0.2 --log_step 20 \
	  --output_dir model_demo/ --writer_dir runs/demo/
	@echo "== 3/4 续写 / samples"
	$(PY) generate.py --model_path model_demo/best_model --prefix 秋天的后半夜 --length 200 --nsamples 5 --batch_size 5 \
	  --finish_sentence --seed 1 --save_samples --save_samples_path mnt/
	@echo "== 4/4 验证 / validation"
	$(PY) evaluate.py --model_path model_demo/best_model --tokenized_data_path data/tokenized_demo/ --ngrams

rules: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: rules
	$(PY) -m pytest -n 2 -m "not slow and not gpu"

test: rules
	$(PY) -m pytest -n 2 --dist worksteal

gpu: .venv/installed-dev
	$(PY) -m pytest -rs -m gpu tests/gpu
	$(PY) benchmarks/train_speed.py --device cuda --rounds 1 --only ours,ours-muon,ceiling
	$(PY) benchmarks/generate_speed.py --device cuda --rounds 1

test-hosts: .venv/installed-dev
	$(PY) -m pytest -rs tests/training/test_two_hosts.py

faults: .venv/installed-dev
	GPT2ZH_KILLS=200 $(PY) -m pytest tests/faults tests/training/test_resume.py tests/training/test_processes.py tests/training/test_one_end.py tests/training/test_two_hosts.py

faults-demo: .venv/installed-dev
	rm -rf faults_demo
	$(BIN)/python tests/faults/demo_under_kills.py faults_demo

fuzz: .venv/installed-dev
	$(BIN)/python tests/faults/fuzz.py --minutes 30

lint: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet -r requirements.txt
	touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	$(PY) -m pip install --quiet -r requirements-dev.txt
	touch $@

clean:
	rm -rf model_demo data/tokenized_demo runs/demo cache/vocab_demo.txt faults_demo fuzz
