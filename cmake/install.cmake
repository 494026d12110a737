# Headers, a CMake package and a pkg-config file, all of them movable: they find the headers from where they lie themselves.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME qlib)

install(TARGETS qlib EXPORT qlib INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY include/qlib TYPE INCLUDE)
install(FILES single_include/qlib.hpp DESTINATION ${CMAKE_INSTALL_DATADIR}/qlib)  # to be copied: not on the include path beside the others
install(FILES LICENSE TYPE DOC)

# The package has no dependencies, so what CMake exports is the whole config file. While the version is 0.x a minor one may break callers.
set(package ${CMAKE_INSTALL_DATADIR}/cmake/qlib)
write_basic_package_version_file(qlibConfigVersion.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/qlibConfigVersion.cmake DESTINATION ${package})
install(EXPORT qlib NAMESPACE qlib:: FILE qlibConfig.cmake DESTINATION ${package})

cmake_path(RELATIVE_PATH CMAKE_INSTALL_FULL_INCLUDEDIR BASE_DIRECTORY ${CMAKE_INSTALL_FULL_DATADIR}/pkgconfig OUTPUT_VARIABLE headers)
file(CONFIGURE OUTPUT qlib.pc @ONLY CONTENT [[
Name: qlib
Description: @PROJECT_DESCRIPTION@
Version: @PROJECT_VERSION@
Cflags: -I${pcfiledir}/@headers@
]])
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/qlib.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig)
