# Quantizes a trained model to FORMAT, lets llama.cpp continue a story with it, and bounds its perplexity.
set(model ${MODELS}/stories15M/stories15M-f16.gguf)
if(NOT MODELS OR NOT EXISTS ${model})
    message("skipped: QLIB_MODELS names no folder with stories15M/stories15M-f16.gguf")
    return()
endif()
if(NOT EXISTS ${LIBRARIES})
    message("skipped: there is no llama.cpp in ${LIBRARIES}")
    return()
endif()
execute_process(COMMAND ${QUANTIZE} ${model} ${OUTPUT} --format ${FORMAT} COMMAND_ERROR_IS_FATAL ANY)
execute_process(
    COMMAND ${CHECK} ${OUTPUT} --libraries ${LIBRARIES} --threads 1
        --prompt "Once upon a time" --contains "there was a little girl named Lily."
        --perplexity ${MODELS}/text/dev_eval.txt --bytes 40000 --context 256 --chunks 12 --at-most ${AT_MOST}
    COMMAND_ERROR_IS_FATAL ANY)
