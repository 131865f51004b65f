#!/usr/bin/env bash
# Score a folder with an Azure OpenAI model on an Azure ML batch endpoint, from nothing to one file of scores:
# create, register, deploy, invoke, wait, download, merge, delete.
#
# Fill in the first four variables, then: az login && ./deploy-and-run.sh
# The script stops at the first error. Run it again to resume: it keeps existing resources, waits for a running
# job, and restarts a failed job for the remaining rows.
set -euo pipefail

# Your Azure resources. You can also set each variable in the environment.
SUBSCRIPTION=${SUBSCRIPTION:-}                    # the id or name of the subscription
RESOURCE_GROUP=${RESOURCE_GROUP:-}                # the resource group of the workspace
WORKSPACE=${WORKSPACE:-}                          # the Azure ML workspace
OPENAI_RESOURCE=${OPENAI_RESOURCE:-}              # the name of the Azure OpenAI resource
OPENAI_RESOURCE_GROUP=${OPENAI_RESOURCE_GROUP:-$RESOURCE_GROUP}

# The data and the model.
TASK=${TASK:-embeddings}                          # embeddings, chat, responses or completions
INPUT=${INPUT:-$(dirname "$0")/../data}            # a local folder or file, or an azureml: URI; subfolders are not read
COLUMN=${COLUMN:-text}                            # the column with the text, or instead of it
PROMPT=${PROMPT:-}                                # a template over columns, for example Summarise: {text}
MODEL=${MODEL:-}                                  # default: the model of the task, below
MODEL_VERSION=${MODEL_VERSION:-}
case $TASK in
  embeddings) DEFAULT=(text-embedding-3-small 1) ;;
  chat | responses) DEFAULT=(gpt-4o-mini 2024-07-18) ;;
  completions) DEFAULT=(gpt-35-turbo-instruct 0914) ;;
  *) DEFAULT=("" "") ;;
esac
[[ -n $MODEL ]] || { MODEL=${DEFAULT[0]} MODEL_VERSION=${MODEL_VERSION:-${DEFAULT[1]}}; }
MODEL_VERSION=${MODEL_VERSION:-1}
OPENAI_DEPLOYMENT=${OPENAI_DEPLOYMENT:-$MODEL}    # the name of the Azure OpenAI deployment
CAPACITY=${CAPACITY:-120}                         # its quota, in thousands of tokens per minute
SKU=${SKU:-Standard}

# Names of the resources that this script creates.
ENDPOINT=${ENDPOINT:-batchscore-$WORKSPACE}       # unique in the region, 3 to 32 characters
CLUSTER=${CLUSTER:-batch-cluster}
REGISTERED_MODEL=${REGISTERED_MODEL:-batchscore-$TASK}
OUTPUT=${OUTPUT:-azureml://datastores/workspaceblobstore/paths/batchscore/$ENDPOINT/$TASK/}
RESULTS=${RESULTS:-results}                       # the local folder for the scores
RESULT=${RESULT:-$RESULTS/$TASK.jsonl}            # one file, for pandas.read_json(…, lines=True)
KEEP_ENDPOINT=${KEEP_ENDPOINT:-no}                # yes: keep it for more jobs; it costs nothing while idle
POLL_SECONDS=${POLL_SECONDS:-20}

# Nothing to edit below.

fail() {
  echo "deploy-and-run: $1" >&2
  exit 1
}

step() {
  echo
  echo "== $1"
}

# Print the line that failed. az itself has printed the reason.
trap 'echo "deploy-and-run: stopped at line $LINENO. Run the same command again to resume here." >&2' ERR

absolute() {
  case $1 in
    /*) echo "$1" ;;
    *) echo "$PWD/$1" ;;
  esac
}

# Given paths are relative to the current folder. Our own files are next to this script.
case $INPUT in
  azureml:* | https:*) ;;
  *) INPUT=$(absolute "$INPUT") ;;
esac
RESULT=$(absolute "$RESULT")
RESULTS=$(absolute "$RESULTS")
cd "$(dirname "$0")"

for name in SUBSCRIPTION RESOURCE_GROUP WORKSPACE OPENAI_RESOURCE; do
  [[ -n ${!name} ]] || fail "$name is empty. Fill in the variables at the top of the script."
done
case $TASK in
  embeddings | chat | responses | completions) ;;
  *) fail "TASK is $TASK. It must be embeddings, chat, responses or completions." ;;
esac
case $TASK:$MODEL in
  chat:*embedding* | responses:*embedding* | completions:*embedding*)
    fail "MODEL is $MODEL, an embeddings model, but TASK is $TASK."
    ;;
  embeddings:gpt-*) fail "MODEL is $MODEL, which has no embeddings, but TASK is $TASK." ;;
esac
[[ $ENDPOINT =~ ^[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]$ ]] ||
  fail "ENDPOINT is $ENDPOINT. A name has 3 to 32 letters, digits and dashes, and starts with a letter."
[[ $INPUT != /* || -e $INPUT ]] || fail "INPUT is $INPUT, but there is no such folder or file."
for program in az batchscore; do
  command -v "$program" >/dev/null || fail "$program is not installed; see docs/how-to/azure-ml.md."
done

JOB_FILE=$RESULTS/$TASK.jobs    # the names of the jobs, latest last
DONE_FILE=$RESULTS/$TASK.done    # the name of the latest job whose scores were downloaded
MODEL_FOLDER=$RESULTS/$TASK.model
ML=(--subscription "$SUBSCRIPTION" --resource-group "$RESOURCE_GROUP" --workspace-name "$WORKSPACE")
OPENAI=(--subscription "$SUBSCRIPTION" --resource-group "$OPENAI_RESOURCE_GROUP" --name "$OPENAI_RESOURCE")
mkdir -p "$RESULTS"

# Return whether a resource exists. Only "not found" means no. Any other az error stops the script.
exists() {
  local said
  if said=$("$@" --output none 2>&1); then
    return 0
  fi
  case $said in
    *NotFound* | *"not found"* | *"could not be found"* | *"does not exist"*) return 1 ;;
  esac
  echo "$said" >&2
  fail "cannot check whether it exists: ${*:1:4}"
}

step "Checking the files"
batchscore check .

step "Azure OpenAI: the deployment $OPENAI_DEPLOYMENT of $MODEL"
OPENAI_ID=$(az cognitiveservices account show "${OPENAI[@]}" --query id --output tsv)
OPENAI_URL=$(az cognitiveservices account show "${OPENAI[@]}" --query properties.endpoint --output tsv)
[[ -n $OPENAI_ID && -n $OPENAI_URL ]] || fail "az returns no id and no endpoint for $OPENAI_RESOURCE."
# Entra ID needs the resource's own endpoint; the regional endpoint does not work.
[[ $OPENAI_URL != *.api.cognitive.microsoft.com* ]] || fail "$OPENAI_RESOURCE has no endpoint of its own. Create \
one: az cognitiveservices account update ${OPENAI[*]} --custom-domain $OPENAI_RESOURCE"
if exists az cognitiveservices account deployment show "${OPENAI[@]}" --deployment-name "$OPENAI_DEPLOYMENT"; then
  echo "It exists."
else
  az cognitiveservices account deployment create "${OPENAI[@]}" --deployment-name "$OPENAI_DEPLOYMENT" \
    --model-format OpenAI --model-name "$MODEL" --model-version "$MODEL_VERSION" \
    --sku-name "$SKU" --sku-capacity "$CAPACITY" --output none
fi

step "The cluster $CLUSTER, and its identity"
if exists az ml compute show "${ML[@]}" --name "$CLUSTER"; then
  echo "It exists."
else
  az ml compute create "${ML[@]}" --file compute.yml --name "$CLUSTER" --output none
fi
PRINCIPAL=$(az ml compute show "${ML[@]}" --name "$CLUSTER" --query identity.principal_id --output tsv)
if [[ -z $PRINCIPAL || $PRINCIPAL == None ]]; then
  az ml compute update "${ML[@]}" --name "$CLUSTER" --identity-type system_assigned --output none
  PRINCIPAL=$(az ml compute show "${ML[@]}" --name "$CLUSTER" --query identity.principal_id --output tsv)
fi
[[ -n $PRINCIPAL && $PRINCIPAL != None ]] || fail "the cluster $CLUSTER has no system-assigned identity."

step "The role Cognitive Services OpenAI User for the cluster, only on $OPENAI_RESOURCE"
ROLE="Cognitive Services OpenAI User"
GIVEN=$(az role assignment list --subscription "$SUBSCRIPTION" --role "$ROLE" --scope "$OPENAI_ID" \
  --fill-principal-name false --query "[?principalId=='$PRINCIPAL'].id | [0]" --output tsv)
if [[ -n $GIVEN && $GIVEN != None ]]; then
  echo "It is assigned."
else
  az role assignment create --subscription "$SUBSCRIPTION" --assignee-object-id "$PRINCIPAL" \
    --assignee-principal-type ServicePrincipal --role "$ROLE" --scope "$OPENAI_ID" --output none
fi

step "Registering the model $REGISTERED_MODEL"
rm -rf "$MODEL_FOLDER"
WHAT=(--column "$COLUMN")
[[ -z $PROMPT ]] || WHAT=(--prompt "$PROMPT")
batchscore model save "$MODEL_FOLDER" --task "$TASK" --model "$MODEL" --deployment "$OPENAI_DEPLOYMENT" "${WHAT[@]}"
az ml model create "${ML[@]}" --name "$REGISTERED_MODEL" --type mlflow_model --path "$MODEL_FOLDER" --output none

step "The endpoint $ENDPOINT"
if exists az ml batch-endpoint show "${ML[@]}" --name "$ENDPOINT"; then
  echo "It exists."
else
  az ml batch-endpoint create "${ML[@]}" --file endpoint.yml --name "$ENDPOINT" --output none
fi

step "The deployment $TASK (the first one builds the environment, about ten minutes)"
DEPLOY=(az ml batch-deployment create "${ML[@]}" --file "deployment-$TASK.yml" --endpoint-name "$ENDPOINT"
  --set-default --output none
  --set model="azureml:$REGISTERED_MODEL@latest"
  --set compute="azureml:$CLUSTER"
  --set settings.environment_variables.AZURE_OPENAI_ENDPOINT="$OPENAI_URL"
  --set settings.environment_variables.BATCHSCORE_TPM="${CAPACITY}000")
# A template names its own columns. AZUREML_BI_TEXT_COLUMN would replace them.
[[ -n $PROMPT ]] || DEPLOY+=(--set settings.environment_variables.AZUREML_BI_TEXT_COLUMN="$COLUMN")
"${DEPLOY[@]}"

job_status() {
  az ml job show "${ML[@]}" --name "$1" --query status --output tsv
}

step "The job"
JOB=""
[[ ! -s $JOB_FILE ]] || JOB=$(tail -n 1 "$JOB_FILE")
STATUS=""
# A job of another workspace, or a deleted job, does not count.
if [[ -n $JOB ]] && exists az ml job show "${ML[@]}" --name "$JOB"; then
  STATUS=$(job_status "$JOB")
fi
# A completed job whose scores were not downloaded yet is not started again.
[[ $STATUS != Completed || $(cat "$DONE_FILE" 2>/dev/null) == "$JOB" ]] || STATUS=Finished
case $STATUS in
  "" | Completed | Failed | Canceled | NotResponding)
    INPUT_TYPE=uri_folder
    [[ ! -f $INPUT ]] || INPUT_TYPE=uri_file
    INVOKE=(az ml batch-endpoint invoke "${ML[@]}" --name "$ENDPOINT" --deployment-name "$TASK"
      --input "$INPUT" --input-type "$INPUT_TYPE" --output-path "$OUTPUT" --query name --output tsv)
    # Azure ML refuses a job if its summary file already exists. This does not concern the scores.
    [[ ! -s $JOB_FILE ]] || INVOKE+=(--set output_file_name="predictions-$(($(wc -l <"$JOB_FILE") + 1)).csv")
    JOB=$("${INVOKE[@]}")
    [[ -n $JOB ]] || fail "the endpoint did not start a job."
    echo "$JOB" >>"$JOB_FILE"
    echo "Started $JOB."
    ;;
  *) echo "$JOB was already started." ;;
esac

step "Waiting for $JOB (to open it: az ml job show --name $JOB --web)"
while :; do
  STATUS=$(job_status "$JOB")
  case $STATUS in
    Completed) break ;;
    Failed | Canceled | NotResponding)
      fail "the job is $STATUS. Its scores are kept. Check its logs, then run the same command again to resume."
      ;;
  esac
  echo "$STATUS"
  sleep "$POLL_SECONDS"
done
echo "Completed"

step "Downloading the scores"
rm -rf "$RESULTS/named-outputs"
az ml job download "${ML[@]}" --name "$JOB" --output-name score --download-path "$RESULTS" --output none
batchscore merge "$RESULTS/named-outputs/score" "$RESULT" --task "$TASK" --overwrite
# The report of the job. A failure here does not affect the scores.
batchscore report "$RESULTS/named-outputs/score" || true

if [[ $KEEP_ENDPOINT == yes ]]; then
  echo "The endpoint $ENDPOINT is kept."
else
  step "Deleting the endpoint $ENDPOINT (the cluster scales down to zero automatically)"
  az ml batch-endpoint delete "${ML[@]}" --name "$ENDPOINT" --yes --output none
fi
echo "$JOB" >"$DONE_FILE"
echo
echo "The scores are in $RESULT."
