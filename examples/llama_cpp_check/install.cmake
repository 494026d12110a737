# Puts a build of llama.cpp into FOLDER, from an npm package that holds its shared libraries. Without npm or network it
# says so and succeeds: the tests that need LIBRARIES then skip themselves.
if(EXISTS ${LIBRARIES})
    message("llama.cpp is there: ${LIBRARIES}")
    return()
endif()
find_program(npm npm)
if(NOT npm)
    message("skipped: npm was not found (Debian package: npm)")
    return()
endif()
file(MAKE_DIRECTORY ${FOLDER})
execute_process(
    COMMAND ${npm} install --prefix ${FOLDER} --ignore-scripts --no-save --no-audit --no-fund
        --fetch-retries=1 --fetch-timeout=30000 @node-llama-cpp/linux-x64@3.22.1
    RESULT_VARIABLE failed TIMEOUT 300)
if(failed)
    message("skipped: npm could not install llama.cpp")
endif()
