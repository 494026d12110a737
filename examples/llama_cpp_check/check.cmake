# Quantizes a trained model to FORMAT, or by that preset, lets llama.cpp continue a
# story with it, and bounds its perplexity.
# On that, llm must agree with llama.cpp to 1 %.
set(model ${MODELS}/stories15M/stories15M-f16.gguf)
if(NOT MODELS OR NOT EXISTS ${model})
    message("skipped: QLIB_MODELS names no folder with stories15M/stories15M-f16.gguf")
    return()
endif()
if(NOT EXISTS ${LIBRARIES})
    message("skipped: there is no llama.cpp in ${LIBRARIES}")
    return()
endif()
set(option --format)
if(FORMAT MATCHES "^[A-Z]")  # a preset's name
    set(option --preset)
endif()
execute_process(COMMAND ${QUANTIZE} ${model} ${OUTPUT} ${option} ${FORMAT} COMMAND_ERROR_IS_FATAL ANY)
execute_process(
    COMMAND ${CHECK} ${OUTPUT} --libraries ${LIBRARIES} --threads 1
        --prompt "Once upon a time" --contains "there was a little girl named Lily."
        --perplexity ${MODELS}/text/dev_eval.txt --bytes 40000 --context 256 --chunks 12 --at-most ${AT_MOST}
    OUTPUT_VARIABLE theirs ECHO_OUTPUT_VARIABLE COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${LLM} perplexity ${OUTPUT} ${MODELS}/text/dev_eval.txt --bytes 40000 --context 256 --chunks 12
    OUTPUT_VARIABLE ours ECHO_OUTPUT_VARIABLE COMMAND_ERROR_IS_FATAL ANY)
foreach(output IN ITEMS theirs ours)  # 3.9184 becomes 39184, as CMake has no fractions
    string(REGEX REPLACE ".*perplexity ([0-9]+)\\.([0-9][0-9][0-9][0-9]).*" "\\1\\2" ${output} "${${output}}")
endforeach()
math(EXPR apart "100 * (${ours} - ${theirs})")
if(apart GREATER theirs OR apart LESS -${theirs})
    message(FATAL_ERROR "the two perplexities are more than 1 % apart")
endif()
