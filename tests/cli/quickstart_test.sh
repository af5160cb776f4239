#!/usr/bin/env bash
# The embedded default, run as a user runs it (tools/quickstart_job), then held to what it promises: base and adapter
# differ as they should, adapter and merged model agree token for token, the files that it names are there.
#
#   tests/cli/quickstart_test.sh PROGRAM FOLDER      PROGRAM: the built baichuan; FOLDER: where the job may write
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
program=$1
results=$2
failures=0

check() {
  local what=$1
  shift
  if "$@"; then
    echo "ok      $what"
  else
    echo "FAILED  $what"
    failures=$((failures + 1))
  fi
}

# at_least SHARE CONDITION KIND: the share of the KIND questions for which the awk CONDITION over base, adapter, merged
# and expected (before, after) holds.
at_least() {
  awk -F'"' '/"question"/ { print $4 "\t" $8 "\t" $12 "\t" $16 }' "$root/configs/quickstart/questions.json" |
    awk -F'\t' -v share="$1" -v kind="$3" '
      NR == FNR { expected_before[$2] = $3; expected_after[$2] = $4; next }
      $1 == kind {
        before = expected_before[$2]; after = expected_after[$2]; base = $3; adapter = $4; merged = $5; all++; if ('"$2"') good++ }
      END { printf "        %d of %d\n", good, all; exit !(all > 0 && good >= share * all) }' - "$results/answers.tsv"
}

BAICHUAN_PROGRAM=$program "$root/tools/quickstart_job" "$results"

check "the base model answers what it was taught, worded differently" at_least 0.9 'base == before' general
check "the base model says that it does not know the new town" at_least 0.9 'base == before' new
check "the adapter knows the new town" at_least 0.9 'adapter == after' new
check "the adapter still answers what the base knew" at_least 0.8 'adapter == after' general
# As many as it knows: which single question a tiny model misses depends on the rounding of the machine.
check "the adapter changes the answers about the new town" at_least 0.9 'adapter != base' new

check "adapter and merged model give the same general answers" at_least 1 'adapter == merged' general
check "adapter and merged model give the same new answers" at_least 1 'adapter == merged' new

for file in base/training_loss.png base/training_eval_loss.png base/trainer_log.jsonl base/all_results.json \
  base/model.safetensors base/tokenizer.model adapter/training_loss.png adapter/training_eval_loss.png \
  adapter/adapter_model.safetensors adapter/adapter_config.json merged/config.json merged/tokenizer.model; do
  check "$file is there" test -s "$results/$file"
done
check "the merged model needs no adapter" test ! -e "$results/merged/adapter_config.json"

((failures == 0)) || exit 1
