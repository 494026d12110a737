# The suite once more per compiler and set of flags, each in a build folder of its
# own, and the checks that need both compilers.
function(require variable program package)
    find_program(${variable} ${program})
    if(NOT ${variable})
        message(FATAL_ERROR "${program} was not found (Debian package: ${package})")
    endif()
endfunction()
require(QLIB_GCC g++ g++)
require(QLIB_CLANG clang++ clang)
require(QLIB_PYTHON python3 python3)
file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/empty.cpp "int main() {}\n")
execute_process(COMMAND ${QLIB_CLANG} -fsanitize=address,undefined empty.cpp -o empty
    WORKING_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR} RESULT_VARIABLE failed OUTPUT_QUIET ERROR_QUIET)
if(failed)
    message(FATAL_ERROR "${QLIB_CLANG} cannot link its sanitizers (Debian package: libclang-rt-dev)")
endif()

function(add_project_test name source)  # configures, builds and tests a project; further arguments: options for CMake
    add_test(NAME ${name} COMMAND ${CMAKE_CTEST_COMMAND}
        --build-and-test ${source} ${PROJECT_BINARY_DIR}/variants/${name}
        --build-generator ${CMAKE_GENERATOR} --build-makeprogram ${CMAKE_MAKE_PROGRAM} --build-noclean
        --build-options ${ARGN}
        --test-command ${CMAKE_CTEST_COMMAND} --output-on-failure)
endfunction()
function(add_variant name compiler flags)  # further arguments: more options for CMake
    add_project_test(${name} ${PROJECT_SOURCE_DIR}
        -DCMAKE_CXX_COMPILER=${compiler} -DCMAKE_BUILD_TYPE=Release "-DCMAKE_CXX_FLAGS_RELEASE=${flags}"
        -DQLIB_BUILD_TESTS=ON -DQLIB_TEST_GROUPS=ON -DQLIB_MODELS=${QLIB_MODELS} -DQLIB_LLAMA=${QLIB_LLAMA} ${ARGN})
endfunction()

if(QLIB_FUZZ)  # prints how many inputs each fuzzer executed
    add_test(NAME clang-fuzz COMMAND ${CMAKE_CTEST_COMMAND}
        --build-and-test ${CMAKE_CURRENT_SOURCE_DIR}/fuzz ${PROJECT_BINARY_DIR}/variants/clang-fuzz
        --build-generator ${CMAKE_GENERATOR} --build-makeprogram ${CMAKE_MAKE_PROGRAM} --build-noclean
        --build-options -DCMAKE_CXX_COMPILER=${QLIB_CLANG} -DQLIB_FUZZ_SECONDS=${QLIB_FUZZ_SECONDS}
        --test-command ${CMAKE_CTEST_COMMAND} --verbose --parallel 2)
endif()

find_program(QLIB_MESON meson)
if(QLIB_MESON)  # builds the examples too; of the suite what flags could change, as clang-sanitize has all of it
    set(folder ${PROJECT_BINARY_DIR}/variants/clang-meson)
    set(script "'${QLIB_MESON}' setup -Dprograms=true -Dsuite=bytes --optimization=0 '${folder}'")
    string(APPEND script " && '${QLIB_MESON}' compile -C '${folder}'")
    string(APPEND script " && '${QLIB_MESON}' test --no-rebuild -C '${folder}' --print-errorlogs")
    add_test(NAME clang-meson COMMAND sh -c "${script}"
        WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    set_tests_properties(clang-meson PROPERTIES ENVIRONMENT "${environment};CXX=${QLIB_CLANG}")
else()
    message(STATUS "meson was not found (Debian package: meson): CMake builds the suite with clang++ in its place")
    add_variant(clang ${QLIB_CLANG} "-O0" -DQLIB_TEST_BYTES=ON)
endif()
# Without exceptions and RTTI, as the headers promise; so UBSan cannot look at vptrs, of which there are none.
# AddressSanitizer calls its checks: inline they take the compiler a quarter longer and twice the memory.
set(sanitized "-fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=all")
string(APPEND sanitized " -mllvm -asan-instrumentation-with-call-threshold=0 -Wno-unused-command-line-argument")
add_variant(clang-sanitize ${QLIB_CLANG} "-O0 -gline-tables-only ${sanitized} -fno-exceptions -fno-rtti"
    -DQLIB_TEST_LARGE=OFF)
add_variant(gcc-single-header ${QLIB_GCC} "-O0 -DQLIB_QUICK_ROOMS -fno-exceptions -fno-rtti"
    -DQLIB_TEST_SINGLE_HEADER=ON -DQLIB_TEST_BYTES=ON)

# No flags may change a byte; -O0 has its turn elsewhere. The linker does not see them: -ffast-math there makes the
# whole program flush subnormals.
if(byte_sources)
    foreach(compiler IN ITEMS gcc clang)
        string(TOUPPER QLIB_${compiler} path)
        add_variant(${compiler}-fast-math ${${path}} "" -DQLIB_TEST_BYTES=ON
            "-DQLIB_TEST_OPTIONS=-O3\\\\;-march=native\\\\;-ffast-math\\\\;-ffp-contract=fast")
    endforeach()
else()
    message(STATUS "No test suite \"bytes\": nothing to run with -ffast-math")
endif()

add_test(NAME baselines COMMAND ${QLIB_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/baselines.py ${QLIB_GCC} ${QLIB_CLANG})
set_tests_properties(baselines PROPERTIES SKIP_REGULAR_EXPRESSION "skipped:")
# Windows: MinGW's compiler, and Wine to run what it makes. All sources of the suite
# compile there; these run in two minutes.
find_program(QLIB_MINGW x86_64-w64-mingw32-g++-posix)
find_program(QLIB_WINE NAMES wine wine64 PATHS /usr/lib/wine)
if(QLIB_MINGW AND QLIB_WINE)
    # The libraries' headers without the system's, which stand beside them.
    set(folder ${CMAKE_CURRENT_BINARY_DIR}/mingw)
    set(tests bytes,doors,executor,exact,foreign_macros,integer_product,json,mapped_file,memory,minifloat,nf4,result)
    string(APPEND tests ,thread_pool)
    file(MAKE_DIRECTORY ${folder})
    file(CREATE_LINK ${QLIB_DOCTEST}/doctest ${folder}/doctest SYMBOLIC)
    file(CREATE_LINK ${QLIB_JSON}/nlohmann ${folder}/nlohmann SYMBOLIC)
    add_variant(mingw ${QLIB_MINGW} "-O1 -DQLIB_QUICK_ROOMS"
        -DCMAKE_SYSTEM_NAME=Windows -DCMAKE_CROSSCOMPILING_EMULATOR=${QLIB_WINE} -DCMAKE_EXE_LINKER_FLAGS=-static
        -DQLIB_DOCTEST=${folder} -DQLIB_JSON=${folder}
        -DQLIB_TEST_ONLY=${tests})
    set_tests_properties(mingw PROPERTIES ENVIRONMENT "WINEPREFIX=${folder}/wine;WINEDEBUG=-all")
else()
    message(STATUS
        "No MinGW, or no Wine (Debian packages: g++-mingw-w64-x86-64-posix, wine64): nothing is tested for Windows")
endif()

foreach(compiler IN ITEMS gcc clang)
    string(TOUPPER QLIB_${compiler} path)
    add_project_test(${compiler}-two-baselines ${CMAKE_CURRENT_SOURCE_DIR}/two_baselines
        -DCMAKE_CXX_COMPILER=${${path}} -DCMAKE_CXX_FLAGS=-O2)
endforeach()
foreach(way IN ITEMS find_package add_subdirectory FetchContent meson pkg-config single_header C C++17)
    add_test(NAME consumer-${way} COMMAND ${CMAKE_COMMAND}
        -DBY=${way} -DQLIB=${PROJECT_SOURCE_DIR} -DCOMPILER=${QLIB_GCC}
        -DFOLDER=${PROJECT_BINARY_DIR}/consumer/${way} -DGENERATOR=${CMAKE_GENERATOR}
        -P ${CMAKE_CURRENT_SOURCE_DIR}/consumer/check.cmake)
    set_tests_properties(consumer-${way} PROPERTIES SKIP_REGULAR_EXPRESSION "^skipped:|\nskipped:")
endforeach()
add_test(NAME single-header-current
    COMMAND ${QLIB_PYTHON} ${PROJECT_SOURCE_DIR}/single_include/amalgamate.py --check)
add_test(NAME readme
    COMMAND ${QLIB_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/readme.py ${QLIB_GCC} ${PROJECT_BINARY_DIR}/readme)
add_test(NAME compile-cost  # of a program; that of instantiate.hpp takes minutes
    COMMAND ${QLIB_PYTHON} ${PROJECT_SOURCE_DIR}/bench/compile_cost.py --compiler ${QLIB_GCC} --fast --check)
add_test(NAME headers-alone
    COMMAND ${QLIB_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/headers_alone.py ${QLIB_GCC} ${QLIB_CLANG} -- ${QLIB_WARNINGS})

# The longest first: else a core waits for the other's last variant.
set(cost 100)
foreach(name IN ITEMS clang-sanitize clang-meson clang-fuzz gcc-single-header gcc-fast-math clang-fast-math)
    if(TEST ${name})
        set_tests_properties(${name} PROPERTIES COST ${cost})
    endif()
    math(EXPR cost "${cost} - 10")
endforeach()
